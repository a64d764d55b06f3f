# SPDX-License-Identifier: Apache-2.0
"""Loading the checkpoint that a command was given."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geodit.cli.errors import CommandError
from geodit.weights.bundled import BUNDLED, resolve_checkpoint

if TYPE_CHECKING:
    from geodit.pipelines.image_pipeline import GeoDiTPipeline
    from geodit.pipelines.pipeline_spec import PipelineSpec
    from geodit.pipelines.scenes.objects import ModelName

ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help=f"Directory or Hub id of a checkpoint, also `id@revision`. By default {BUNDLED}."
    ),
]
AdapterOption = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        "-a",
        help="Directory or Hub id of an adapter (LoRA or similar) for the model, also `id@revision`.",
    ),
]
DtypeOption = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option(
        "--dtype",
        help="Type of the weights; auto uses that of the checkpoint. Many CPUs are several times faster with float32.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="Device, such as cuda:1. By default a GPU if there is one."),
]


def load_pipeline(
    model: str | None, device: str | None = None, *, adapter: str | None = None, dtype: str = "auto"
) -> "GeoDiTPipeline":
    """Load a checkpoint with its processor. No code that a checkpoint brings along is ever run.

    Args:
        model: Directory or Hub id; None for the bundled checkpoint or, with an adapter, the one it was trained on.
            A Hub id may end in `@` and a branch, tag or commit.
        device: Name of a torch device; None for a GPU if there is one.
        adapter: Directory or Hub id of an adapter, which may end likewise.
        dtype: Of the weights; "auto" for that of the checkpoint.

    Raises:
        CommandError: If there is no such checkpoint, adapter or device, or it is not one of GeoDiT, or it is damaged.
    """
    return load_from(pipeline_spec(model, adapter=adapter, dtype=dtype), device)


def pipeline_spec(model: str | None, *, adapter: str | None = None, dtype: str = "auto") -> "PipelineSpec":
    """Return what a checkpoint is loaded from, without loading it.

    Args:
        model: As for [`load_pipeline`].
        adapter: Likewise.
        dtype: Likewise.

    Raises:
        CommandError: If there is no such checkpoint or adapter, or it is not one of GeoDiT.
    """
    import huggingface_hub
    from transformers.utils import logging

    from geodit.configuration.configuration_geodit import GeoDiTConfig
    from geodit.pipelines.pipeline_spec import PipelineSpec

    logging.disable_progress_bar()
    # Its retries are no news: what comes of them is reported.
    huggingface_hub.logging.set_verbosity_error()
    model, revision = (None, None) if model is None else split_revision(model)
    adapter, adapter_revision = (None, None) if adapter is None else split_revision(adapter)
    name = resolve_model(model if adapter is None else model or _base_of(adapter, adapter_revision))
    config, _ = GeoDiTConfig.get_config_dict(name, revision=revision or "main")
    if config.get("model_type") != GeoDiTConfig.model_type:
        raise CommandError(
            f"{name} is not a GeoDiT checkpoint: its config.json has model_type "
            f"{config.get('model_type')!r}, not {GeoDiTConfig.model_type!r}"
        )
    return PipelineSpec(name, adapter, revision, adapter_revision, dtype)


def load_from(spec: "PipelineSpec", device: str | None = None) -> "GeoDiTPipeline":
    """Load a checkpoint with its processor.

    Raises:
        CommandError: If there is no such device.
    """
    if device is not None:
        _check_device(device)
    return spec.load(device)


def model_label(model: str | None, adapter: str | None) -> str:
    """Return what results say about the model that they describe."""
    name = model or BUNDLED
    if adapter is None:
        return name
    return f"{adapter} on {name}" if model else adapter


def model_name(model: str | None, adapter: str | None, pipeline: "GeoDiTPipeline") -> "ModelName":
    """Return the same with the commit it was loaded at and the local folders it was loaded from, where there are any.

    Args:
        model: Value of `--model`.
        adapter: Value of `--adapter`.
        pipeline: What was loaded.
    """
    from geodit.pipelines.scenes.objects import ModelName

    commit = getattr(pipeline.model.config, "_commit_hash", None)
    sources = [pipeline.model.name_or_path, *([] if adapter is None else [adapter])]
    folders = tuple(source for source in sources if source and Path(source).is_dir())
    return ModelName(model_label(model, adapter), commit, folders)


def split_revision(name: str) -> tuple[str, str | None]:
    """Split `id@revision`; the revision is `None` for a name without one, and for a directory."""
    hub_id, _, revision = name.partition("@")
    if not revision or Path(name).expanduser().exists():
        return name, None
    return hub_id, revision


def _base_of(adapter: str, revision: str | None) -> str:
    """Return the checkpoint that an adapter was trained on.

    Raises:
        CommandError: If it is a directory that is not there.
    """
    from geodit.weights.adapters import adapter_base, find_adapter

    base = adapter_base(find_adapter(adapter, revision=revision))
    try:
        return resolve_model(base)
    except CommandError as error:
        raise CommandError(
            f"the adapter {adapter} was trained on {base}, but {error}; name it with --model"
        ) from error


def resolve_model(model: str | None) -> str:
    """Return the directory or Hub id to load from.

    Raises:
        CommandError: If `model` can only be a directory, and there is none.
    """
    if model is None:
        model = BUNDLED
    try:
        model = resolve_checkpoint(model)
    except FileNotFoundError as error:
        raise CommandError(f"{error}; name one with --model") from error
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            hint = ". It is an adapter: give it with --adapter" if (path / "adapter_config.json").is_file() else ""
            raise CommandError(f"{model} is not a checkpoint: it has no config.json{hint}")
        return str(path)
    if path.exists():
        raise CommandError(f"{model} is a file; give the directory of a checkpoint, or a Hub id")
    if model.startswith((".", "/", "~")) or len(path.parts) > 2:
        raise CommandError(f"there is no directory {model}")
    return model


def _check_device(device: str) -> None:
    import torch

    try:
        torch.empty(0, device=device)
    # What torch raises depends on why there is no such device: its name, this build, or this machine.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise CommandError(f"cannot run on the device {device!r}: {str(error).splitlines()[0]}") from error

# SPDX-License-Identifier: Apache-2.0
"""Loading the checkpoint that a command was given."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geodit.checkpoints import BUNDLED, bundled_checkpoint
from geodit.cli.errors import CommandError

if TYPE_CHECKING:
    from geodit.pipelines.image_pipeline import GeoDiTPipeline

ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help=f"Directory or Hub id of a checkpoint, by default {BUNDLED}."),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="Where to run, as in cuda:1. By default a GPU if there is one."),
]


def load_pipeline(model: str | None, device: str | None = None) -> "GeoDiTPipeline":
    """Loads a checkpoint with its processor. No code that a checkpoint brings along is ever run.

    Args:
        model: Directory or Hub id; None for the bundled checkpoint.
        device: Name of a torch device; None for a GPU if there is one.

    Raises:
        CommandError: If there is no such checkpoint or device, or it is not one of GeoDiT, or it is damaged.
    """
    import huggingface_hub
    from safetensors import SafetensorError
    from transformers.utils import logging

    from geodit.configuration.configuration_geodit import GeoDiTConfig
    from geodit.pipelines.image_pipeline import GeoDiTPipeline

    logging.disable_progress_bar()
    # Its retries are no news: what comes of them is reported.
    huggingface_hub.logging.set_verbosity_error()
    name = resolve_model(model)
    config, _ = GeoDiTConfig.get_config_dict(name)
    if config.get("model_type") != GeoDiTConfig.model_type:
        raise CommandError(
            f"{name} is not a GeoDiT checkpoint: its config.json has model_type "
            f"{config.get('model_type')!r}, not {GeoDiTConfig.model_type!r}"
        )
    if device is not None:
        _check_device(device)
    try:
        return GeoDiTPipeline.from_pretrained(name, device=device)
    except SafetensorError as error:
        raise CommandError(f"the weights in {name} are damaged: {error}") from error


def resolve_model(model: str | None) -> str:
    """The directory or Hub id to load from.

    Raises:
        CommandError: If `model` can only be a directory, and there is none.
    """
    if model is None:
        try:
            return bundled_checkpoint()
        except FileNotFoundError as error:
            raise CommandError(f"{error}; name one with --model") from error
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CommandError(f"{model} is not a checkpoint: it has no config.json")
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

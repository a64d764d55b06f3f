# SPDX-License-Identifier: Apache-2.0
"""What runs the model of a job: GeoDiT's own code, or vLLM by the plugin for it."""

import importlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from geodit.cli.checkpoint import load_from, model_label, model_name, pipeline_spec
from geodit.cli.errors import CommandError
from geodit.configuration.types_geodit import Arguments

if TYPE_CHECKING:
    from geodit.pipelines.pipeline_spec import AnswererSpec
    from geodit.pipelines.scene_pipeline import ScenePipeline

__all__ = ["EngineName", "EngineOption", "EngineOptionsOption", "load_scenes"]

EngineName = Literal["geodit", "vllm"]
EngineOption = Annotated[
    EngineName, typer.Option("--engine", help="What runs the model; vllm needs the plugin geodit-vllm.")
]
EngineOptionsOption = Annotated[
    str | None,
    typer.Option("--engine-options", help="""Arguments of vllm.LLM as JSON, such as '{"tensor_parallel_size": 2}'."""),
]

_PLUGIN = "geodit_vllm"


def load_scenes(
    engine: EngineName,
    options: str | None,
    *,
    model: str | None,
    adapter: str | None,
    dtype: str,
    device: str | None,
) -> "tuple[ScenePipeline, AnswererSpec]":
    """Load who is asked about scenes, and what workers elsewhere load the same from.

    Args:
        engine: What runs the model.
        options: Value of `--engine-options`.
        model: Value of `--model`.
        adapter: Value of `--adapter`.
        dtype: Value of `--dtype`.
        device: Where the model runs, if this process runs it by itself.

    Raises:
        CommandError: As [`load_pipeline`], or if the engine is not there, or cannot be asked in this way.
    """
    from geodit.pipelines.scene_pipeline import ScenePipeline

    _check_engine(engine, options, adapter)
    spec = pipeline_spec(model, adapter=adapter, dtype=dtype)
    if engine == "geodit":
        pipeline = load_from(spec, device)
        name = model_name(model, adapter, pipeline)
        return ScenePipeline(pipeline, name=name), spec.pinned(name.revision)

    from geodit.configuration.configuration_geodit import GeoDiTConfig
    from geodit.pipelines.scenes.objects import ModelName

    assert spec.model is not None
    config = GeoDiTConfig.from_pretrained(spec.model, revision=spec.revision or "main")
    commit: str | None = getattr(config, "_commit_hash", None)
    # A distribution of its own, which the package does not depend on.
    answerers = importlib.import_module(f"{_PLUGIN}.answerer")
    vllm_spec: AnswererSpec = answerers.VllmSpec(
        spec.model, commit or spec.revision, engine={"dtype": dtype, **_read_options(options)}
    )
    folders = (spec.model,) if Path(spec.model).is_dir() else ()
    name = ModelName(model_label(model, None), commit, folders)
    return ScenePipeline(vllm_spec.load_answerer(), name=name), vllm_spec


def _check_engine(engine: EngineName, options: str | None, adapter: str | None) -> None:
    """Refuse what cannot be asked, before anything is looked up."""
    if engine == "geodit":
        if options is not None:
            raise CommandError("--engine-options is for --engine vllm: give both")
        return
    if adapter is not None:
        raise CommandError("--engine vllm takes no --adapter: merge it into the model before")
    if find_spec(_PLUGIN) is None or find_spec("vllm") is None:
        raise CommandError("--engine vllm needs vLLM and the plugin for it: pip install 'geodit-vllm[cuda]'")
    _read_options(options)


def _read_options(options: str | None) -> Arguments:
    if options is None:
        return {}
    try:
        values = json.loads(options)
    except json.JSONDecodeError as error:
        raise CommandError(f"--engine-options is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise CommandError("--engine-options must be a JSON object of arguments by their names")
    for name in ("model", "revision", "dtype"):
        if name in values:
            raise CommandError(f"--engine-options cannot have {name}: the command's own options say it")
    size = values.get("tensor_parallel_size", 1)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise CommandError(f"tensor_parallel_size of --engine-options must be a number of GPUs, but is {size!r}")
    return values

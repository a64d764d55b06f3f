# SPDX-License-Identifier: Apache-2.0
"""Recipes: a YAML file that says what is trained, on what and how. `geodit train` runs them."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

from transformers import TrainerCallback, TrainingArguments, set_seed
from trl.scripts.utils import TrlParser

from geodit.configuration.text_files import check_regular_file, parse_yaml, read_text
from geodit.configuration.types_geodit import JsonObject
from geodit.trainers.grpo.arguments import GeoDiTGRPOConfig
from geodit.trainers.hub_token import refuse_secret_arguments
from geodit.trainers.resilience.run_folder import RunFolder
from geodit.trainers.runs.recipe_arguments import DataArguments, ModelArguments
from geodit.trainers.runs.recipe_values import check_kinds, resolve_paths
from geodit.trainers.runs.stages import run_dense_vision, run_grpo, run_masked_diffusion
from geodit.trainers.sample_callback import DrawAnswer
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

_Arguments: TypeAlias = tuple[ModelArguments, DataArguments, GeoDiTTrainingArguments | GeoDiTGRPOConfig]
"""Those of the model, of the data and of the training."""

_RUNS: dict[str, tuple[type[TrainingArguments], Callable[..., None]]] = {
    "masked_diffusion": (GeoDiTTrainingArguments, run_masked_diffusion),
    "dense_vision": (GeoDiTTrainingArguments, run_dense_vision),
    "grpo": (GeoDiTGRPOConfig, run_grpo),
}
"""Arguments and run of each objective."""


def resolve_recipe(recipe: str) -> Path:
    """Find a recipe by path, or by name among those that come with the package (`geodit-tiny/stage1`).

    Raises:
        FileNotFoundError: when there is none; the message lists the bundled ones.
        ValueError: when it is a directory, a pipe or a device.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    bundled = _bundled_recipes()
    name = recipe.removesuffix(".yaml")
    if name in bundled:
        return bundled[name]
    if path.exists():
        check_regular_file(path)
    raise FileNotFoundError(
        f"No recipe {recipe!r}: neither a file nor one of the bundled recipes {', '.join(sorted(bundled))}."
    )


def _bundled_recipes() -> dict[str, Path]:
    """Return the recipes of the package by name; those of `geodit-tiny` begin with its name."""
    package = Path(str(files("geodit")))
    folders = {"": package / "recipes", "geodit-tiny/": package / "tiny" / "recipes"}
    return {f"{prefix}{path.stem}": path for prefix, folder in folders.items() for path in folder.glob("*.yaml")}


def parse_recipe(recipe: str, overrides: Sequence[str] = ()) -> _Arguments:
    """Read a recipe, with `--name value` overrides on top.

    The training arguments are [`GeoDiTGRPOConfig`] with `objective: grpo` and [`GeoDiTTrainingArguments`] otherwise.

    Raises:
        FileNotFoundError: when there is no such recipe.
        ValueError: for a name that no argument has, or a value that cannot be read.
    """
    path = resolve_recipe(recipe)
    return _parse(path, _read(path), overrides)


def parse_values(values: JsonObject, where: Path) -> _Arguments:
    """Read the values of a recipe that is no file yet.

    Args:
        values: Of arguments, by name.
        where: What errors call it.

    Raises:
        ValueError: for a name that no argument has, or a value that cannot be read.
    """
    return _parse(where, values, ())


def _read(path: Path) -> JsonObject:
    values = parse_yaml(read_text(path), path)
    if not isinstance(values, dict) or "env" in values or not all(isinstance(name, str) for name in values):
        raise ValueError(f"The recipe {path} must be a YAML mapping of argument names to values, without `env`.")
    return values


def _parse(path: Path, values: JsonObject, overrides: Sequence[str]) -> _Arguments:
    refuse_secret_arguments(path, values, overrides)
    if "hub_token" in values or any(_argument_of(word) == "hub_token" for word in overrides):
        raise ValueError(
            "A recipe is kept beside the model and published with it, and so must not hold hub_token: log in by "
            "`hf auth login`, or set HF_TOKEN."
        )
    training_arguments, _ = _RUNS.get(_objective(values, overrides), _RUNS["masked_diffusion"])
    arguments: list[Any] = [ModelArguments, DataArguments, training_arguments]
    values = check_kinds(_as_text(_resolved_paths(values, path.parent)), arguments, path)
    parser = TrlParser(arguments, allow_abbrev=False)
    unknown = parser.set_defaults_with_config(**values)
    if unknown:
        raise ValueError(f"The recipe {path} has arguments that do not exist: {' '.join(unknown)}.")
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed = parser.parse_args_into_dataclasses(args=list(overrides), look_for_args_file=False)
    except SystemExit as error:
        # argparse prints its usage, hundreds of lines here, and what is wrong in the last one.
        reason = complaint.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        what = f"The overrides {' '.join(overrides)}" if overrides else f"The recipe {path}"
        raise ValueError(f"{what} could not be read: {reason}") from error
    for part in parsed:
        resolve_paths(part)
    model_args, data_args, training_args = parsed
    return model_args, data_args, training_args


def run_recipe(
    recipe: str,
    overrides: Sequence[str] = (),
    *,
    draw_answer: DrawAnswer | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> None:
    """Run a recipe to its end: train, and save model, processor and training log to `output_dir`.

    Args:
        recipe: Path of a YAML file, or the name of a bundled recipe.
        overrides: `--name value` pairs that take precedence over the recipe.
        draw_answer: Draws the pictures of `sample_every_steps`.
        callbacks: Of the Trainer, with objective `masked_diffusion`, in place of the lines that it prints.

    Raises:
        FileNotFoundError: when there is no such recipe.
        ValueError: when its arguments are wrong or do not fit each other, or `output_dir` holds an earlier run.
        BlockingIOError: when another run writes to `output_dir`.
    """
    path = resolve_recipe(recipe)
    # Read once, before the run, which takes hours in which the file may be edited.
    values = _read(path)
    model_args, data_args, training_args = _parse(path, values, overrides)
    as_run = values | _override_values(overrides)
    as_run.pop("overwrite_output_dir", None)  # of this start, not of the run
    _, run = _RUNS[data_args.objective]
    if run is run_masked_diffusion:
        run = functools.partial(run, draw_answer=draw_answer, callbacks=callbacks)
    bases = {name: getattr(model_args, name) for name in ("model_name_or_path", "vision_tower")}
    folder = RunFolder(
        Path(str(training_args.output_dir)),
        overwrite=training_args.overwrite_output_dir,
        bases={name: str(base) for name, base in bases.items() if base},
        recipe=path,
    )
    with folder.opened(training_args.resume_from_checkpoint):
        set_seed(training_args.seed)
        run(model_args, data_args, training_args, folder, as_run)


def _argument_of(override: str) -> str | None:
    """Return the argument that a word of the overrides names, in any way that the parser takes."""
    return override.partition("=")[0][2:].replace("-", "_") if override.startswith("--") else None


def _objective(values: JsonObject, overrides: Sequence[str]) -> str:
    """Return the objective, which decides what the training arguments are, before any argument is read."""
    words = [word for override in overrides for word in override.split("=", 1)]
    given = [word for name, word in itertools.pairwise(words) if name == "--objective"]
    return str([values.get("objective", "masked_diffusion"), *given][-1])


def _override_values(overrides: Sequence[str]) -> JsonObject:
    """Return `--name value` and `--name=value` overrides as they would stand in a recipe."""
    words: dict[str, list[str]] = {}
    for word in overrides:
        if word.startswith("--"):
            name, separator, value = word[2:].partition("=")
            current = words[name.replace("-", "_")] = [value] if separator else []
        else:
            current.append(word)
    values = {name: [_value(value) for value in given] for name, given in words.items()}
    return {name: True if not given else given[0] if len(given) == 1 else given for name, given in values.items()}


def _value(word: str) -> Any:
    try:
        return parse_yaml(word, "the override")
    except ValueError:  # text for the parser of arguments, too, such as a path with a colon
        return word


def _as_text(values: JsonObject) -> JsonObject:
    """Write `resume_from_checkpoint: true` as text, as it is on a command line and as its argument takes it."""
    resume = values.get("resume_from_checkpoint")
    return {**values, "resume_from_checkpoint": str(resume).lower()} if isinstance(resume, bool) else values


def _resolved_paths(values: JsonObject, folder: Path) -> JsonObject:
    """Read the path of a geometry file as relative to the recipe that names it."""
    geometry = values.get("geometry")
    if isinstance(geometry, str) and not Path(geometry).is_absolute() and not geometry.startswith("~"):
        return {**values, "geometry": str(folder / geometry)}
    return values

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
from typing import Any

import yaml
from transformers import TrainingArguments, set_seed
from trl.scripts.utils import TrlParser

from geodit.configuration.files_geodit import write_atomically
from geodit.hub_cards.run_folders import RUN_RECIPE
from geodit.trainers.grpo_arguments import GeoDiTGRPOConfig
from geodit.trainers.hub_token import refuse_secret_arguments
from geodit.trainers.recipe_arguments import DataArguments, ModelArguments
from geodit.trainers.sample_callback import DrawAnswer
from geodit.trainers.stages import run_dense_vision, run_grpo, run_masked_diffusion
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

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
    """
    path = Path(recipe)
    if path.is_file():
        return path
    bundled = Path(str(files("geodit.recipes")))
    for candidate in (bundled / recipe, bundled / f"{recipe}.yaml"):
        if candidate.is_file():
            return candidate
    recipes = (path for path in bundled.rglob("*.yaml") if path.parent.name != "accelerate")
    names = sorted(str(path.relative_to(bundled).with_suffix("")) for path in recipes)
    raise FileNotFoundError(f"No recipe {recipe!r}: neither a file nor one of the bundled recipes {', '.join(names)}.")


def parse_recipe(recipe: str, overrides: Sequence[str] = ()) -> tuple[ModelArguments, DataArguments, Any]:
    """Read a recipe, with `--name value` overrides on top.

    The training arguments are [`GeoDiTGRPOConfig`] with `objective: grpo` and [`GeoDiTTrainingArguments`] otherwise.

    Raises:
        FileNotFoundError: when there is no such recipe.
        ValueError: for a name that no argument has, or a value that cannot be read.
    """
    path = resolve_recipe(recipe)
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict) or "env" in values:
        raise ValueError(f"The recipe {path} must be a YAML mapping of argument names to values, without `env`.")
    refuse_secret_arguments(path, values, overrides)
    if "hub_token" in values or any(_argument_of(word) == "hub_token" for word in overrides):
        raise ValueError(
            "A recipe is kept beside the model and published with it, and so must not hold hub_token: log in by "
            "`hf auth login`, or set HF_TOKEN."
        )
    training_arguments, _ = _RUNS.get(_objective(values, overrides), _RUNS["masked_diffusion"])
    arguments: list[Any] = [ModelArguments, DataArguments, training_arguments]
    parser = TrlParser(arguments, allow_abbrev=False)
    unknown = parser.set_defaults_with_config(**_resolved_paths(values, path.parent))
    if unknown:
        raise ValueError(f"The recipe {path} has arguments that do not exist: {' '.join(unknown)}.")
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            model_args, data_args, training_args = parser.parse_args_into_dataclasses(args=list(overrides))
    except SystemExit as error:
        # argparse prints its usage, hundreds of lines here, and what is wrong in the last one.
        reason = complaint.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise ValueError(f"The overrides {' '.join(overrides)} could not be read: {reason}") from error
    return model_args, data_args, training_args


def run_recipe(recipe: str, overrides: Sequence[str] = (), *, draw_answer: DrawAnswer | None = None) -> None:
    """Run a recipe to its end: train, and save model, processor and training log to `output_dir`.

    Args:
        recipe: Path of a YAML file, or the name of a bundled recipe.
        overrides: `--name value` pairs that take precedence over the recipe.
        draw_answer: Draws the pictures of `sample_every_steps`.

    Raises:
        FileNotFoundError: when there is no such recipe.
        ValueError: when its arguments are wrong or do not fit each other.
    """
    model_args, data_args, training_args = parse_recipe(recipe, overrides)
    # Read before the run, which takes hours in which the file may be edited.
    as_run = yaml.safe_load(resolve_recipe(recipe).read_text(encoding="utf-8")) | _override_values(overrides)
    set_seed(training_args.seed)
    _, run = _RUNS[data_args.objective]
    if run is run_masked_diffusion:
        run = functools.partial(run, draw_answer=draw_answer)
    if run is not run_dense_vision:
        run = functools.partial(run, recipe=as_run)
    run(model_args, data_args, training_args)
    if training_args.process_index == 0:
        path = Path(str(training_args.output_dir)) / RUN_RECIPE
        write_atomically(path, yaml.safe_dump(as_run, sort_keys=False).encode())


def _argument_of(override: str) -> str | None:
    """The argument that a word of the overrides names, in any way that the parser takes."""
    return override.partition("=")[0][2:].replace("-", "_") if override.startswith("--") else None


def _objective(values: dict[str, Any], overrides: Sequence[str]) -> str:
    """The objective, which decides what the training arguments are, before any argument is read."""
    words = [word for override in overrides for word in override.split("=", 1)]
    given = [word for name, word in itertools.pairwise(words) if name == "--objective"]
    return str([values.get("objective", "masked_diffusion"), *given][-1])


def _override_values(overrides: Sequence[str]) -> dict[str, Any]:
    """`--name value` and `--name=value` overrides as they would stand in a recipe."""
    words: dict[str, list[str]] = {}
    for word in overrides:
        if word.startswith("--"):
            name, separator, value = word[2:].partition("=")
            current = words[name.replace("-", "_")] = [value] if separator else []
        else:
            current.append(word)
    values = {name: [yaml.safe_load(value) for value in given] for name, given in words.items()}
    return {name: True if not given else given[0] if len(given) == 1 else given for name, given in values.items()}


def _resolved_paths(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Read the path of a geometry file as relative to the recipe that names it."""
    geometry = values.get("geometry")
    if isinstance(geometry, str) and not Path(geometry).is_absolute():
        return {**values, "geometry": str(folder / geometry)}
    return values

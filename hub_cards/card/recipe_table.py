# SPDX-License-Identifier: Apache-2.0
"""Recipes as others see them: what they set, without what is of no concern but to who ran them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from geodit.configuration.types_geodit import JsonObject
from geodit.hub_cards.card.markdown import Table, code, cut_paths, without_folders
from geodit.hub_cards.card.training_history import STARTS_FROM, TrainingStage, folder_name, outputs_of

__all__ = ["dataset_names", "public_recipe", "recipes_table"]

# What decides the result comes first, in this order, then what else a recipe sets by name.
_FIRST = (
    "objective",
    "model_name_or_path",
    "model_revision",
    "geometry",
    "vision_tower",
    "trainable_parts",
    "use_peft",
    "load_in_4bit",
    "load_in_8bit",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "num_scenes",
    "num_text_scenes",
    "num_neon_tiles",
    "datasets",
    "num_eval_scenes",
    "reward_functions",
    "reward_weights",
    "num_generations",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_train_epochs",
    "max_steps",
    "learning_rate",
)
# What changes where a run writes, how fast it is or how often it reports, and not what is learnt.
_HOUSEKEEPING = frozenset(
    {
        "cache_dir",
        "dataloader_num_workers",
        "dataloader_persistent_workers",
        "dataloader_pin_memory",
        "disable_tqdm",
        "eval_nll_draws",
        "eval_steps",
        "eval_strategy",
        "hub_always_push",
        "hub_model_id",
        "hub_private_repo",
        "hub_revision",
        "hub_strategy",
        "log_level",
        "logging_dir",
        "logging_first_step",
        "logging_steps",
        "logging_strategy",
        "neon_dir",
        "num_proc",
        "num_samples",
        "output_dir",
        "per_device_eval_batch_size",
        "push_to_hub",
        "report_to",
        "resume_from_checkpoint",
        "run_name",
        "sample_every_steps",
        "save_only_model",
        "save_steps",
        "save_strategy",
        "save_total_limit",
    }
)
_DATASETS = "datasets"


def recipes_table(stages: Sequence[TrainingStage]) -> Table | None:
    """Build a table of what the recipes set, one column per stage; return `None` if there are no recipes."""
    stages = [stage for stage in stages if stage.recipe]
    names = {name for stage in stages for name in stage.recipe if not _is_secret(name)} - _HOUSEKEEPING
    if not names:
        return None
    outputs = outputs_of(stages)
    order = {name: index for index, name in enumerate(_FIRST)}
    rows = [
        (code(name), *(_argument(name, stage.recipe, outputs) for stage in stages))
        for name in sorted(names, key=lambda name: (order.get(name, len(order)), name))
    ]
    return Table(("argument", *(stage.name for stage in stages)), tuple(rows), num_left=len(stages) + 1)


def dataset_names(recipe: JsonObject) -> tuple[str, ...]:
    """Return the published data sets that a recipe trains on, such as `"rsicd"` and `"mmrs-1m:optical"`."""
    entries = recipe.get(_DATASETS) or ()
    return tuple(str(entry).partition("=")[0] for entry in ([entries] if isinstance(entries, str) else entries))


def public_recipe(recipe: JsonObject) -> JsonObject:
    """Return a recipe without secrets and without the folders of the person who ran it.

    It still is a recipe: a data set is named as `rsicd=PATH`, for its reader to fill in.
    """
    shown = {name: cut_paths(value) for name, value in recipe.items() if not _is_secret(name)}
    if _DATASETS in shown:
        shown[_DATASETS] = [f"{name}=PATH" for name in dataset_names(recipe)]
    return shown


def _is_secret(name: str) -> bool:
    """Return whether a field is a secret: `hub_token`, `push_to_hub_token`, but not the numbers of tokens."""
    return name == "token" or name.endswith(("_token", "api_key", "password"))


def _argument(name: str, recipe: JsonObject, outputs: Mapping[str, str]) -> str:
    value = recipe.get(name)
    if value is None:
        return ""
    if name == _DATASETS:
        return ", ".join(dataset_names(recipe))
    if name in STARTS_FROM and folder_name(value) in outputs:
        return f"stage {outputs[folder_name(value)]}"
    if isinstance(value, list):
        return ", ".join(without_folders(str(item)) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return without_folders(str(value))

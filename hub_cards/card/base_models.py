# SPDX-License-Identifier: Apache-2.0
"""The models that a checkpoint was made of, from what assembling, training and PEFT have recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geodit.configuration.hub_ids import is_hub_id
from geodit.hub_cards.card.checkpoint_files import read_fields
from geodit.hub_cards.card.markdown import without_folders
from geodit.hub_cards.card.training_history import STARTS_FROM, TrainingStage, folder_name, outputs_of
from geodit.weights.assembly import ASSEMBLY_FILE

__all__ = ["BaseModel", "hub_ids", "read_base_models"]

_PARTS = {"text": "text core", "vision": "vision tower", "llada_v": "text core, vision tower and projector"}
_ARGUMENTS = {"model_name_or_path": "whole model", "vision_tower": "vision tower"}
# As the pages of these models on the Hub state them. Of others nothing is said.
_LICENCES = {
    "GSAI-ML/LLaDA-8B-Base": "mit",
    "GSAI-ML/LLaDA-8B-Instruct": "mit",
    "google/siglip-so400m-patch14-384": "apache-2.0",
    "google/siglip2-so400m-patch14-384": "apache-2.0",
}


@dataclass(frozen=True)
class BaseModel:
    """A model that something was taken from.

    Args:
        name: Hub id, or the last part of a folder's path.
        part: What was taken from it.
        on_hub: Whether `name` is a Hub id.
    """

    name: str
    part: str
    on_hub: bool

    @property
    def licence(self) -> str | None:
        """The Hub's identifier of its licence, if it is known."""
        return _LICENCES.get(self.name) if self.on_hub else None


def read_base_models(folder: Path, stages: Sequence[TrainingStage]) -> list[BaseModel]:
    """Gather the sources in `assembly.json`, and what stages start from that no other stage has written.

    Args:
        folder: Folder of a checkpoint.
        stages: Its stages.

    Raises:
        ValueError: If `assembly.json` is not what [`assemble`] writes.
    """
    models: dict[str, BaseModel] = {}
    assembly = folder / ASSEMBLY_FILE
    if assembly.is_file():
        for part, named in read_fields(assembly)["sources"].items():
            _add(models, named.text(), _PARTS.get(part, part))
    outputs = outputs_of(stages)
    run_folders = {output.partition("/")[0] for output in outputs}
    for stage in stages:
        for argument in STARTS_FROM:
            source = stage.recipe.get(argument)
            if source and folder_name(source) not in outputs:
                # A folder beside those of the other runs has the form of a Hub id and is none.
                is_run = str(source).partition("/")[0] in run_folders
                _add(models, str(source), _ARGUMENTS[argument], may_be_hub_id=not is_run)
    return list(models.values())


def hub_ids(models: Sequence[BaseModel]) -> list[str]:
    """Return those that can be linked to."""
    return [model.name for model in models if model.on_hub]


def _add(models: dict[str, BaseModel], source: str, part: str, may_be_hub_id: bool = True) -> None:
    on_hub = may_be_hub_id and is_hub_id(source)
    name = source if on_hub else Path(without_folders(source)).name or source
    models.setdefault(name, BaseModel(name, part, on_hub))

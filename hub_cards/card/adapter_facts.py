# SPDX-License-Identifier: Apache-2.0
"""What adapter_config.json and the header of the weights say about an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import parse_local_safetensors_file_metadata
from huggingface_hub.errors import SafetensorsParsingError
from transformers.utils.peft_utils import ADAPTER_CONFIG_NAME, ADAPTER_SAFE_WEIGHTS_NAME

from geodit.configuration.hub_ids import is_hub_id
from geodit.hub_cards.card.base_models import BaseModel
from geodit.hub_cards.card.checkpoint_files import Field, read_fields
from geodit.hub_cards.card.markdown import Markdown, Table, code, without_folders

__all__ = ["Adapter", "is_adapter", "read_adapter"]

# What decides what an adapter can learn, as far as its kind has it.
_SHOWN = (
    "peft_type",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "use_dora",
    "bias",
    "target_modules",
    "exclude_modules",
    "modules_to_save",
)


@dataclass(frozen=True)
class Adapter:
    """An adapter as its files describe it.

    Args:
        kind: PEFT's name of its kind, such as `"LORA"`.
        base: The checkpoint that it was trained on.
        settings: What its configuration sets, by name.
        num_parameters: Parameters of the adapter, with those of the modules that it replaces; 0 without weights.
        dtypes: The data types of its weights, by their names in safetensors.
        base_revision: Branch, tag or commit of the base that it was trained on, if it says.
    """

    kind: str
    base: BaseModel
    settings: tuple[tuple[str, str], ...]
    num_parameters: int = 0
    dtypes: tuple[str, ...] = ()
    base_revision: str | None = None

    @property
    def table(self) -> Table:
        """The settings."""
        return Table(("setting", "value"), tuple((code(name), value) for name, value in self.settings), num_left=2)


def is_adapter(folder: Path) -> bool:
    """Return whether a folder holds an adapter and no whole checkpoint."""
    return (folder / ADAPTER_CONFIG_NAME).is_file() and not (folder / "config.json").is_file()


def read_adapter(folder: Path) -> Adapter:
    """Read adapter_config.json and, without loading a tensor, the header of the weights.

    Raises:
        ValueError: If the configuration is not one of PEFT or names no base, or the weights are damaged.
    """
    config = read_fields(folder / ADAPTER_CONFIG_NAME)
    kind = config["peft_type"].text()
    base = config["base_model_name_or_path"].text()
    on_hub = is_hub_id(base)
    settings = [(name, _value(value)) for name in _SHOWN if (value := config.get(name)) is not None]
    name = base if on_hub else Path(without_folders(base)).name
    revision = config.get("revision")
    return Adapter(
        kind,
        BaseModel(name, "whole model", on_hub),
        tuple(settings),
        *_count_parameters(folder),
        base_revision=revision.text() if on_hub and revision is not None else None,
    )


def _count_parameters(folder: Path) -> tuple[int, tuple[str, ...]]:
    path = folder / ADAPTER_SAFE_WEIGHTS_NAME
    if not path.is_file():
        return 0, ()
    try:
        counts = parse_local_safetensors_file_metadata(path).parameter_count
    except (SafetensorsParsingError, OSError, ValueError) as error:
        raise ValueError(f"the weights in {folder} cannot be read: {error}") from error
    return sum(counts.values()), tuple(sorted(counts, key=lambda dtype: -counts[dtype]))


def _value(field: Field) -> str:
    value = field.value
    if isinstance(value, list):
        return Markdown(", ".join(code(str(item)) for item in sorted(map(str, value))))
    if isinstance(value, bool):
        return str(value).lower()
    return code(value) if isinstance(value, str) else str(value)

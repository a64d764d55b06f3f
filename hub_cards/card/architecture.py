# SPDX-License-Identifier: Apache-2.0
"""What config.json and the headers of the weight files say about a network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import get_local_safetensors_metadata
from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError, StrictDataclassError
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.hub_cards.card.checkpoint_files import read_fields
from geodit.hub_cards.card.markdown import Table
from geodit.modeling_geodit.weight_files_geodit import read_weight_map
from geodit.weights.model_tensors import part_of

__all__ = ["Architecture", "read_architecture"]

_PARTS = {"vision_tower": "vision tower", "projector": "projector", "language_model": "text core"}
_OTHER = "other"


@dataclass(frozen=True)
class Architecture:
    """A network as its files describe it.

    Args:
        config: The configuration.
        parameters: Number of parameters of each part; empty if there are no weights in the folder.
        dtypes: The data types of the weights, the commonest first, by their names in safetensors.
    """

    config: GeoDiTConfig
    parameters: dict[str, int] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ()

    @property
    def num_parameters(self) -> int:
        """Parameters of all parts together."""
        return sum(self.parameters.values())

    @property
    def table(self) -> Table:
        """Geometry of the parts, with their parameters if these are known."""
        vision, text = self.config.vision_config, self.config.text_config
        width = self.config.projector_hidden_size or text.hidden_size
        tower = f"SigLIP ViT, image side {vision.image_size} pixels, patch side {vision.patch_size}"
        lines = {
            "vision tower": (tower, *_geometry(vision)),
            "projector": (f"MLP with {self.config.projector_hidden_act}", "2", str(width), ""),
            "text core": (
                f"LLaDA (Llama layers, bidirectional), vocabulary of {text.vocab_size}",
                *_geometry(text),
            ),
        }
        header: tuple[str, ...] = ("part", "network", "layers", "width", "heads")
        rows: list[tuple[str, ...]] = [(part, *line) for part, line in lines.items()]
        if self.parameters:
            header = (*header, "parameters")
            rows = [(*row, f"{self.parameters.get(row[0], 0):,}") for row in rows]
            if _OTHER in self.parameters:
                rows.append((_OTHER, "", "", "", "", f"{self.parameters[_OTHER]:,}"))
            rows.append(("all", "", "", "", "", f"{self.num_parameters:,}"))
        return Table(header, tuple(rows), num_left=2)


def read_architecture(folder: Path) -> Architecture:
    """Read config.json and, without loading a tensor, the headers of the weight files.

    Args:
        folder: Folder of a checkpoint. The weights may be missing, in one file or in shards.

    Raises:
        ValueError: If config.json is missing or wrong, is not that of a GeoDiT model, or weights are damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} is not a checkpoint: it has no config.json")
    fields = read_fields(path).mapping()
    if fields.get("model_type") != GeoDiTConfig.model_type:
        raise ValueError(
            f"{path} is not that of a GeoDiT model: its model_type is {fields.get('model_type')!r}, "
            f"not {GeoDiTConfig.model_type!r}"
        )
    try:
        config = GeoDiTConfig.from_dict(fields)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a valid configuration: {' '.join(str(error).split())}") from error
    return Architecture(config, *_count_parameters(folder))


def _count_parameters(folder: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    if not (folder / SAFE_WEIGHTS_NAME).is_file() and (folder / SAFE_WEIGHTS_INDEX_NAME).is_file():
        read_weight_map(folder / SAFE_WEIGHTS_INDEX_NAME)  # before they are opened
    try:
        metadata = get_local_safetensors_metadata(folder)
    except NotASafetensorsRepoError:
        return {}, ()
    except (SafetensorsParsingError, OSError, ValueError) as error:
        raise ValueError(f"the weights in {folder} cannot be read: {error}") from error
    counts = dict.fromkeys(_PARTS.values(), 0)
    dtypes: Counter[str] = Counter()
    for file in metadata.files_metadata.values():
        for name, tensor in file.tensors.items():
            part = _PARTS.get(part_of(name) or "", _OTHER)
            counts[part] = counts.get(part, 0) + tensor.parameter_count
            dtypes[tensor.dtype] += tensor.parameter_count
    return counts, tuple(dtype for dtype, _ in dtypes.most_common())


def _geometry(config: object) -> tuple[str, str, str]:
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads")
    layers, width, heads = (str(getattr(config, name)) for name in names)
    return layers, width, heads

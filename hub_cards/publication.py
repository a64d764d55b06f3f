# SPDX-License-Identifier: Apache-2.0
"""What of a checkpoint's folder belongs in a repository of the Hub, and what it is called there.

Files are taken by name, so that what a run leaves beside a model stays where it is: optimizer state,
`training_args.bin` (a pickle), intermediate checkpoints, files half written. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from huggingface_hub.utils import validate_repo_id
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from geodit.hub_cards.architecture import read_architecture
from geodit.hub_cards.documents import read_json
from geodit.hub_cards.model_card import build_model_card
from geodit.hub_cards.remote_code import code_files

__all__ = ["PublishedFile", "published_files"]

_ADAPTER_WEIGHTS = "adapter_model.safetensors"
# What describes model, decoding, processor and tokenizer.
_SETTINGS = (
    "assembly.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


@dataclass(frozen=True)
class PublishedFile:
    """A file of a repository.

    Args:
        path_in_repo: Where it lies, with `/` between folders.
        content: The file that holds its content, or the content itself.
    """

    path_in_repo: str
    content: Path | bytes

    @property
    def size(self) -> int:
        """Size in bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def published_files(
    checkpoint_dir: str | PathLike[str],
    *,
    repo_id: str,
    model_name: str | None = None,
    license: str = "apache-2.0",
    language: str = "en",
    base_model: str | Sequence[str] | None = None,
    datasets: Sequence[str] = (),
    tags: Sequence[str] = (),
    template_path: str | PathLike[str] | None = None,
) -> list[PublishedFile]:
    """Everything that a repository of a checkpoint, or of an adapter, is to hold; nothing is written.

    The code that loads a checkpoint is added where the folder lacks it, and the card is made anew.

    Args:
        checkpoint_dir: Folder of a checkpoint, or of an adapter.
        repo_id: Hub id of the repository.
        model_name: Title of the card; by default the last part of `repo_id`.
        license: The Hub's identifier of the licence of the weights.
        language: ISO 639 code of the language of prompts and answers.
        base_model: Hub id, or ids, of the models that training started from; by default those that are known.
        datasets: Hub ids of the data sets trained on.
        tags: Tags beside those that every GeoDiT model has.
        template_path: A Jinja template to use instead of GeoDiT's own.

    Returns:
        The files in the order of their paths, each path once. The same folder gives the same files.

    Raises:
        ValueError: If `repo_id` is no Hub id, the folder is not that of a checkpoint or an adapter, it has no weights,
            or a file is not what it should be; the message names it.
    """
    validate_repo_id(repo_id)
    folder = Path(checkpoint_dir)
    read_architecture(folder)
    contents: dict[str, Path | bytes] = {name: folder / name for name in _SETTINGS if (folder / name).is_file()}
    contents |= {name: folder / name for name in _weight_files(folder)}
    contents |= code_files(folder)
    card = build_model_card(
        folder,
        repo_id=repo_id,
        model_name=model_name,
        license=license,
        language=language,
        base_model=base_model,
        datasets=datasets,
        tags=tags,
        template_path=template_path,
    )
    contents["README.md"] = str(card).encode()
    return [PublishedFile(path, contents[path]) for path in sorted(contents)]


def _weight_files(folder: Path) -> list[str]:
    """The weights, as an index lists them where there is one: shards of an earlier save may lie beside them."""
    if (folder / SAFE_WEIGHTS_NAME).is_file():
        return [SAFE_WEIGHTS_NAME]
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if not index.is_file():
        raise ValueError(f"{folder} has no weights to publish: neither {SAFE_WEIGHTS_NAME} nor {index.name}")
    shards = sorted({shard.text() for _, shard in read_json(index)["weight_map"].items()})
    return [index.name, *shards]

# SPDX-License-Identifier: Apache-2.0
"""Which files hold the weights of a checkpoint: safetensors of its own folder, and nothing else.

A pickle can run any code when it is read. An index can name any file, and Transformers opens what it names.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file

__all__ = ["check_weight_files", "read_weight_map", "refuse_pickles"]

_PICKLES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt")
_HOW_TO_CONVERT = (
    'Convert them where you trust them: python -c "import torch, safetensors.torch as s; '
    "s.save_file({k: v.contiguous() for k, v in torch.load('pytorch_model.bin', weights_only=True).items()}, "
    "'model.safetensors', {'format': 'pt'})\""
)
_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")


def refuse_pickles(directory: str | os.PathLike[str]) -> None:
    """Say how to go on where weights are there, but as pickles alone.

    Raises:
        ValueError: If the folder has files of pickled weights and no safetensors file.
    """
    folder = Path(directory)
    pickles = sorted({path.name for pattern in _PICKLES for path in folder.glob(pattern)})
    if pickles and not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"{folder} holds its weights as pickles ({', '.join(pickles)}), which may run code when read; only "
            f"safetensors files are read. {_HOW_TO_CONVERT}"
        )


def read_weight_map(index: Path) -> dict[str, str]:
    """Read the file of each tensor from an index.

    Args:
        index: `model.safetensors.index.json`.

    Raises:
        ValueError: If it is not an index, or names a file that is not a safetensors file of its own folder.
    """
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{index} is not valid JSON: {error}.") from error
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index} has no weight_map: it must be an object that names the file of each tensor.")
    for name in weight_map.values():
        is_beside = isinstance(name, str) and os.path.basename(name) == name and not {"\\", ":"} & set(name)  # noqa: PTH119
        if not is_beside or not name.endswith(".safetensors"):
            raise ValueError(
                f"{index} names {name!r:.80}, which is no .safetensors file of its folder: only safetensors files are "
                "read, and none that is outside its folder."
            )
    return weight_map


def check_weight_files(name: str | os.PathLike[str], **options: object) -> None:
    """Refuse weights that are not safetensors files of their own folder, before any of them is opened.

    Args:
        name: Folder or Hub id of a checkpoint, as `from_pretrained` takes it.
        **options: Arguments of `from_pretrained`, of which those count that say where to look.

    Raises:
        ValueError: Naming the file.
    """
    where = {option: options[option] for option in _HUB_OPTIONS if options.get(option) is not None}
    folder = Path(name) / str(where.get("subfolder", ""))
    if not folder.is_dir():
        # Of a repository, the single file goes first; Transformers looks for both in the same order.
        for wanted in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME):
            found = cached_file(name, wanted, _raise_exceptions_for_missing_entries=False, **where)
            if found is not None:
                if wanted == SAFE_WEIGHTS_INDEX_NAME:
                    read_weight_map(Path(found))
                return
        return
    refuse_pickles(folder)
    index = folder / SAFE_WEIGHTS_INDEX_NAME
    if not (folder / SAFE_WEIGHTS_NAME).is_file() and index.is_file():
        shards = sorted(set(read_weight_map(index).values()))
        if missing := [shard for shard in shards if not (folder / shard).is_file()]:
            raise ValueError(f"{folder} lacks {', '.join(missing)}, which its index names.")

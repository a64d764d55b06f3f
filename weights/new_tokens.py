# SPDX-License-Identifier: Apache-2.0
"""The vocabulary of an assembled checkpoint: the source's tokenizer, special tokens, and embeddings of new tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from transformers import PreTrainedTokenizerFast

from geodit.processing.tokenization import IMAGE_TOKEN, MASK_TOKEN, add_geodit_tokens
from geodit.weights.checkpoint_reader import CheckpointReader
from geodit.weights.checkpoint_writer import PlannedTensor

__all__ = ["SPECIAL_IDS", "Vocabulary", "load_tokenizer", "make_vocabulary", "resolve_special_ids", "with_new_rows"]

SPECIAL_IDS = ("mask_token_id", "bos_token_id", "eos_token_id", "pad_token_id")
"""The special tokens of a text core, by their names in a configuration."""

_REQUIRED_IDS = ("mask_token_id", "eos_token_id")


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of an assembled checkpoint.

    Args:
        tokenizer: The tokenizer with its new tokens, or `None` for a checkpoint without one.
        special_ids: Ids by the names of `SPECIAL_IDS`, and `image_token_id`.
        num_source_tokens: Tokens that the source's tokenizer has: the rows that new embeddings are the mean of.
        new_ids: Ids of the tokens that the source does not have.
        num_rows: Rows of the embeddings.
        location_bins: Location tokens that the tokenizer has.
        notes: What a user should know about how it came about.
    """

    tokenizer: PreTrainedTokenizerFast | None
    special_ids: dict[str, int | None]
    num_source_tokens: int
    new_ids: tuple[int, ...]
    num_rows: int
    location_bins: int
    notes: tuple[str, ...]


def load_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    """Load the tokenizer in the folder of a checkpoint. No code next to it is run.

    Raises:
        ValueError: If there is none, or it cannot be read.
    """
    if not (directory / "tokenizer.json").is_file():
        raise ValueError(
            f"{directory} has no tokenizer (tokenizer.json). Name another source of it with --tokenizer, or write "
            "model and configuration alone with --no-tokenizer."
        )
    try:
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(directory)
    # The library raises a bare Exception for a file that it cannot parse.
    except Exception as error:
        raise ValueError(f"The tokenizer in {directory} cannot be read: {error}") from error
    return tokenizer


def make_vocabulary(
    tokenizer: PreTrainedTokenizerFast | None,
    declared_ids: Sequence[tuple[str, Mapping[str, object]]],
    *,
    num_rows: int,
    location_bins: int = 0,
) -> Vocabulary:
    """Resolve the special tokens of a text core and add the tokens of GeoDiT.

    Args:
        tokenizer: The source's tokenizer, changed in place; `None` adds no token.
        declared_ids: Special token ids as the files of the source declare them, each with the file's name; the
            earlier ones count more, and all of them more than the tokenizer.
        num_rows: Rows of the source's embeddings.
        location_bins: Number of location tokens to add.

    Raises:
        ValueError: If a token that is needed is nowhere declared, or a new token would take the place of another.
    """
    if tokenizer is None:
        if location_bins:
            raise ValueError("Location tokens need a tokenizer: they cannot be added with --no-tokenizer.")
        ids, notes = resolve_special_ids(declared_ids, num_rows)
        notes += ("no tokenizer, and so no image token (image_token_id is null): the model takes inputs_embeds",)
        return Vocabulary(None, {**ids, "image_token_id": None}, num_rows, (), num_rows, 0, notes)

    own = {name: getattr(tokenizer, name) for name in SPECIAL_IDS}
    if own["mask_token_id"] is None:
        own["mask_token_id"] = tokenizer.get_vocab().get(MASK_TOKEN)
    ids, notes = resolve_special_ids([*declared_ids, ("the tokenizer", own)], max(num_rows, len(tokenizer)))

    num_source_tokens = len(tokenizer)
    known = set(tokenizer.get_vocab().values())
    add_geodit_tokens(tokenizer, location_bins)
    new_ids = tuple(sorted(set(tokenizer.get_vocab().values()) - known))
    taken = [name for name in SPECIAL_IDS if ids[name] in new_ids]
    if taken:
        raise ValueError(f"New tokens would take the ids of {', '.join(taken)}: the tokenizer is not the model's.")
    _assign_roles(tokenizer, ids)
    if new_ids:
        said = (
            f"the embeddings of {len(new_ids)} new tokens (ids {new_ids[0]} to {new_ids[-1]}) are the mean of those "
        )
        notes += (f"{said}of the {num_source_tokens} tokens before them",)
    image_token_id = tokenizer.get_vocab()[IMAGE_TOKEN]
    rows = max(num_rows, max(tokenizer.get_vocab().values()) + 1)
    ids["image_token_id"] = image_token_id
    return Vocabulary(tokenizer, ids, num_source_tokens, new_ids, rows, location_bins, notes)


def resolve_special_ids(
    declared_ids: Sequence[tuple[str, Mapping[str, object]]], num_tokens: int
) -> tuple[dict[str, int | None], tuple[str, ...]]:
    """Choose one id for each special token from several files that may contradict each other.

    Args:
        declared_ids: Special token ids by name, each with where they stand; the earlier ones count more.
        num_tokens: Size of the vocabulary, which every id must be within.

    Returns:
        The ids by the names of `SPECIAL_IDS` (padding is the end token where nothing else is said, as in LLaDA),
        and what was passed over.

    Raises:
        ValueError: If the mask or the end token is nowhere declared.
    """
    ids: dict[str, int | None] = {}
    notes = []
    for name in SPECIAL_IDS:
        chosen = None
        for where, declared in declared_ids:
            value = declared.get(name)
            if isinstance(value, list) and value:  # several tokens that end an answer: the first is the main one
                value = value[0]
            if value is None:
                continue
            if type(value) is not int or not 0 <= value < num_tokens:
                notes.append(f"{name}={value!r} of {where} is passed over: it is no id below {num_tokens}")
            elif chosen is None:
                chosen = value
            elif chosen != value:
                notes.append(f"{name}={value} of {where} is passed over: it is {chosen}")
        ids[name] = chosen
    missing = [name for name in _REQUIRED_IDS if ids[name] is None]
    if missing:
        places = ", ".join(where for where, _ in declared_ids)
        raise ValueError(f"{' and '.join(missing)} is declared nowhere: looked in {places}.")
    if ids["pad_token_id"] is None:
        ids["pad_token_id"] = ids["eos_token_id"]
    return ids, tuple(notes)


def with_new_rows(
    reader: CheckpointReader, name: str, vocabulary: Vocabulary, shape: tuple[int, ...], dtype: torch.dtype
) -> PlannedTensor:
    """Return the plan of an embedding matrix in which the rows of new tokens are the mean of the others.

    Args:
        reader: The source.
        name: Name of the matrix in the source.
        vocabulary: Which rows are new.
        shape: `(V, d)` of the new matrix, which may have more rows than the source.
        dtype: The type to write it in.
    """
    new_ids = set(vocabulary.new_ids)

    def blocks() -> Iterator[torch.Tensor]:
        mean = _mean_row(reader, name, vocabulary.num_source_tokens) if new_ids else None
        row = 0
        for block in reader.blocks(name):
            inside = [index - row for index in new_ids if row <= index < row + len(block)]
            if inside and mean is not None:
                block = block.clone()
                block[inside] = mean.to(block.dtype)
            yield block
            row += len(block)
        if row < shape[0] and mean is not None:
            yield mean.expand(shape[0] - row, -1)

    return PlannedTensor(shape, dtype, blocks)


def _mean_row(reader: CheckpointReader, name: str, num_rows: int) -> torch.Tensor:
    total = torch.zeros(reader.records[name].shape[1], dtype=torch.float64)
    seen = 0
    for block in reader.blocks(name):
        used = block[: num_rows - seen]
        total += used.sum(0, dtype=torch.float64)
        seen += len(used)
        if seen == num_rows:
            break
    return total / seen


def _assign_roles(tokenizer: PreTrainedTokenizerFast, ids: Mapping[str, int | None]) -> None:
    """Give the tokenizer the special tokens of the model, some of which only its configuration names."""
    for name in SPECIAL_IDS:
        token_id = ids[name]
        if token_id is None or getattr(tokenizer, name) == token_id:
            continue
        # None for an id beyond its vocabulary.
        token = cast(str | None, tokenizer.convert_ids_to_tokens(token_id))
        if token is not None:
            tokenizer.add_special_tokens({name.removesuffix("_id"): token})
        elif name == "eos_token_id":
            raise ValueError(
                f"The tokenizer has no token {token_id}, which ends an answer: it is not this model's tokenizer."
            )

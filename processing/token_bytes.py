# SPDX-License-Identifier: Apache-2.0
"""What each token of a tokenizer is decoded to, in bytes.

A token need not be a text: byte-level BPE and SentencePiece with byte fallback have tokens for parts of a character.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from geodit.configuration.types_geodit import JsonObject

__all__ = ["TokenBytes", "read_token_bytes"]

_LOCATION_TOKEN = re.compile(r"<loc_[0-9]+>")
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_PRINTABLE = (*range(33, 127), *range(161, 173), *range(174, 256))
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
# The alphabet of byte-level BPE, of GPT-2: a byte that is not printable is written as a character above 255.
_BYTE_OF = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + place): byte for place, byte in enumerate(_OTHERS)}


@dataclass(frozen=True)
class TokenBytes:
    """The tokens that a text may be made of.

    Args:
        by_id: What each token is decoded to; never empty.
        drops_first_space: Whether decoding drops a space in front of the text, as SentencePiece writes one there.
    """

    by_id: dict[int, bytes]
    drops_first_space: bool


def read_token_bytes(tokenizer: PreTrainedTokenizerBase) -> TokenBytes:
    """Read what the tokens of a tokenizer are decoded to.

    Special tokens are left out, except for location tokens.

    Args:
        tokenizer: A fast tokenizer: byte-level BPE, or SentencePiece with or without byte fallback.

    Raises:
        ValueError: If it decodes in another way.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = None if backend is None else backend.decoder
    steps: list[JsonObject] = []
    if decoder is not None:
        state = json.loads(decoder.__getstate__())
        steps = state["decoders"] if state["type"] == "Sequence" else [state]
    kinds = [step["type"] for step in steps]
    added = tokenizer.added_tokens_decoder
    special = {*tokenizer.all_special_ids, *(index for index, token in added.items() if token.special)}
    pieces = {
        index: piece
        for piece, index in tokenizer.get_vocab().items()
        if piece and (index not in special or _LOCATION_TOKEN.fullmatch(piece))
    }
    if kinds == ["ByteLevel"]:
        return TokenBytes({index: _from_byte_level(piece) for index, piece in pieces.items()}, False)
    if kinds == ["Metaspace"]:
        mark = steps[0]["replacement"]
        drops = steps[0].get("prepend_scheme", "always") != "never"
        # All spaces of the first token are dropped: only tokens with one are dealt with.
        kept = {index: piece for index, piece in pieces.items() if not drops or piece.count(mark) < 2}
        return TokenBytes({index: piece.replace(mark, " ").encode() for index, piece in kept.items()}, drops)
    if "Replace" in kinds and set(kinds) <= {"Replace", "ByteFallback", "Fuse", "Strip"}:
        marks = [(step["pattern"]["String"], step["content"]) for step in steps if step["type"] == "Replace"]
        strips = [step for step in steps if step["type"] == "Strip"]
        known = all((step["content"], step["start"], step["stop"]) == (" ", 1, 0) for step in strips)
        if known and len(strips) < 2:
            falls_back = "ByteFallback" in kinds
            by_id = {index: _from_sentence_piece(piece, marks, falls_back) for index, piece in pieces.items()}
            return TokenBytes(by_id, bool(strips))
    raise ValueError(
        f"the tokenizer decodes by {' and '.join(kinds) or 'its own code'}, but a pattern can be made for fast "
        "tokenizers of byte-level BPE or SentencePiece only: use one of these"
    )


def _from_byte_level(piece: str) -> bytes:
    # As the decoder does: a token with a character outside the alphabet is an added one, and stands for its own text.
    if all(character in _BYTE_OF for character in piece):
        return bytes(_BYTE_OF[character] for character in piece)
    return piece.encode()


def _from_sentence_piece(piece: str, marks: list[tuple[str, str]], falls_back: bool) -> bytes:
    for mark, text in marks:
        piece = piece.replace(mark, text)
    found = _BYTE_TOKEN.fullmatch(piece) if falls_back else None
    return bytes([int(found[1], 16)]) if found else piece.encode()

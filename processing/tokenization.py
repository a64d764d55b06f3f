# SPDX-License-Identifier: Apache-2.0
"""Tokenizers for GeoDiT: a small one trained from scratch, and the tokens that a published one lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from geodit.processing.processing_geodit import location_token

BOS_TOKEN = "<|startoftext|>"
EOS_TOKEN = "<|endoftext|>"
MASK_TOKEN = "<|mdm_mask|>"
IMAGE_TOKEN = "<image>"
CHAT_TOKENS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|user|>", "<|assistant|>")
"""The marks of the two chat templates in `processing_geodit`."""

_NUM_BYTES = 256


def build_tokenizer(
    texts: Iterable[str],
    vocab_size: int = 2048,
    location_bins: int = 100,
) -> PreTrainedTokenizerFast:
    """Trains a byte-level BPE tokenizer on the texts of a small model.

    Any text can be tokenised, since every byte is a token. With a vocabulary that is large enough every word
    of `texts` becomes a single token, with the space before it; digits stay apart. Ids are, in this order:
    special tokens, bytes, words, location tokens. The location tokens are not special, so that `decode(...,
    skip_special_tokens=True)` keeps them, and no space is put around them.

    Args:
        texts: The texts that the model will read and write. A word at the start of a text and the same word
            after a space are two tokens. Special tokens and location tokens in them are passed over.
        vocab_size: Size of the whole vocabulary at most. Fewer merges are made if the texts hold fewer words.
        location_bins: Number of location tokens; 0 for none.

    Returns:
        The tokenizer, with LLaDA's names of the special tokens, padding on the left and no chat template.

    Raises:
        ValueError: If `vocab_size` has no room for the bytes, the special tokens and the location tokens.
    """
    special_tokens = [EOS_TOKEN, BOS_TOKEN, MASK_TOKEN, IMAGE_TOKEN, *CHAT_TOKENS]
    smallest = len(special_tokens) + _NUM_BYTES + location_bins
    if location_bins < 0 or vocab_size < smallest:
        raise ValueError(
            f"A vocabulary of {vocab_size} has no room for {len(special_tokens)} special tokens, "
            f"{_NUM_BYTES} bytes and {location_bins} location tokens: `vocab_size` must be at least "
            f"{smallest}."
        )

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - location_bins,
        special_tokens=special_tokens,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_plain_pieces(texts, special_tokens), trainer)
    tokenizer.add_tokens(_location_tokens(location_bins))

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS_TOKEN,
        eos_token=EOS_TOKEN,
        pad_token=EOS_TOKEN,
        mask_token=MASK_TOKEN,
        extra_special_tokens=[IMAGE_TOKEN, *CHAT_TOKENS],
        model_input_names=["input_ids", "attention_mask"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def add_geodit_tokens(tokenizer: PreTrainedTokenizerBase, location_bins: int, image_token: str = IMAGE_TOKEN) -> int:
    """Add the image token and the location tokens to a published tokenizer, such as LLaDA's.

    Tokens that the tokenizer has already are left as they are. The model's embeddings have to be resized to
    `len(tokenizer)` if that has grown beyond them.

    Args:
        tokenizer: The tokenizer, changed in place.
        location_bins: Number of location tokens; 0 for none.
        image_token: The placeholder of an image.

    Returns:
        The number of tokens added.
    """
    added = tokenizer.add_special_tokens({"extra_special_tokens": [image_token]}, replace_extra_special_tokens=False)
    return int(added + tokenizer.add_tokens(_location_tokens(location_bins)))


def _plain_pieces(texts: Iterable[str], special_tokens: list[str]) -> Iterator[str]:
    """Cuts out the tokens that are added as a whole, lest merges be spent on their letters."""
    added_token = re.compile("|".join(map(re.escape, special_tokens)) + r"|<loc_[0-9]+>")
    for text in texts:
        yield from added_token.split(text)


def _location_tokens(location_bins: int) -> list[AddedToken]:
    return [AddedToken(location_token(index), normalized=False) for index in range(location_bins)]

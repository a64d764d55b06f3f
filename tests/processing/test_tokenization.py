# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from geodit.processing.tokenization import CHAT_TOKENS, add_geodit_tokens, build_tokenizer

TEXTS = ["Detect: ship.", "Detect: storage tank.", "How many ships are there?", "harbor"]


def test_a_known_word_is_one_token_with_its_space(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.tokenize("Detect: storage tank.") == ["Detect", ":", "Ġstorage", "Ġtank", "."]


def test_digits_stay_apart(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.tokenize("127") == ["1", "2", "7"]


def test_chat_marks_and_locations_are_one_token_each_without_spaces(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    text = "<|user|>Detect: ship.<|assistant|>harbor<loc_1><loc_12><loc_63>none<loc_0>"
    tokens = tokenizer.tokenize(text)
    assert tokens == [
        *("<|user|>", "Detect", ":", "Ġship", ".", "<|assistant|>"),
        *("harbor", "<loc_1>", "<loc_12>", "<loc_63>", "none", "<loc_0>"),
    ]
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_only_location_tokens_survive_skipping_special_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    specials = "".join(["<|startoftext|>", "<|mdm_mask|>", "<image>", *CHAT_TOKENS, "<|endoftext|>"])
    ids = tokenizer(f"{specials}harbor<loc_3>{specials}")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "harbor<loc_3>"


def test_special_tokens_have_their_roles(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.bos_token == "<|startoftext|>"
    assert tokenizer.eos_token == tokenizer.pad_token == "<|endoftext|>"
    assert tokenizer.mask_token == "<|mdm_mask|>"
    assert tokenizer.padding_side == "left"
    assert set(tokenizer("ship")) == {"input_ids", "attention_mask"}


def test_location_ids_are_the_last(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = tokenizer.convert_tokens_to_ids([f"<loc_{index}>" for index in range(64)])
    assert ids == list(range(len(tokenizer) - 64, len(tokenizer)))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str) -> None:
    ids = TOKENIZER(text)["input_ids"]
    assert TOKENIZER.decode(ids) == text


TOKENIZER = build_tokenizer(TEXTS, vocab_size=400, location_bins=0)


def test_training_is_deterministic() -> None:
    assert build_tokenizer(TEXTS, vocab_size=400, location_bins=0).get_vocab() == TOKENIZER.get_vocab()


def test_no_merges_are_spent_on_tokens_that_are_added_as_a_whole() -> None:
    with_tokens = [f"<|user|>{text}<loc_10><loc_3>" for text in TEXTS]
    assert build_tokenizer(with_tokens, location_bins=8).get_vocab() == (
        build_tokenizer(TEXTS, location_bins=8).get_vocab()
    )


def test_the_vocabulary_has_an_upper_limit() -> None:
    assert len(build_tokenizer(TEXTS, vocab_size=300, location_bins=20)) == 300


@pytest.mark.parametrize(("vocab_size", "location_bins"), [(284, 20), (0, 0), (1000, -1)])
def test_a_vocabulary_that_is_too_small_says_what_is_needed(vocab_size: int, location_bins: int) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        build_tokenizer(TEXTS, vocab_size=vocab_size, location_bins=location_bins)


def test_saved_and_loaded(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    text = "<image><|user|>How many ships are there? é<|assistant|><loc_5>3<|endoftext|>"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.all_special_ids == tokenizer.all_special_ids
    assert loaded.get_vocab() == tokenizer.get_vocab()


def test_add_geodit_tokens_to_a_published_tokenizer() -> None:
    published = build_tokenizer(TEXTS, location_bins=0)
    size, specials = len(published), set(published.all_special_tokens)

    assert add_geodit_tokens(published, location_bins=10, image_token="<img>") == 11
    assert add_geodit_tokens(published, location_bins=10, image_token="<img>") == 0

    assert len(published) == size + 11
    assert set(published.all_special_tokens) == specials | {"<img>"}
    assert published.tokenize("<img>harbor<loc_9>") == ["<img>", "harbor", "<loc_9>"]

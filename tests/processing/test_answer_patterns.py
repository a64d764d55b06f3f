# SPDX-License-Identifier: Apache-2.0
"""The patterns of answers that a processor makes for its tokenizer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodit.modeling_geodit.patterns_geodit import CanvasLogits

CHOICES = ["harbor", "storage tank", "storage", "yes", "Straße 海"]


def propose(pattern, vocab_size, length, favorite=(), seed=0):
    """The canvas that is proposed when nothing is committed."""
    nothing = torch.zeros(1, length, dtype=torch.long)
    logits = 3 * torch.randn(length, vocab_size, generator=torch.Generator().manual_seed(seed))
    for place, token in enumerate(favorite):
        logits[place, token] += 50
    return pattern.propose(CanvasLogits(logits, nothing == 0, nothing == 0, nothing)).tokens[0].tolist()


class TestChoices:
    @pytest.mark.parametrize("choice", CHOICES)
    def test_each_can_be_the_answer_as_it_is_written_in_training(self, processor, choice):
        canvas = processor.encode_answer(choice, 12)
        pattern = processor.choices_pattern([f" {one} " for one in CHOICES])
        assert propose(pattern, len(processor.tokenizer), 12, favorite=canvas) == canvas

    @given(seed=st.integers(0, 2**20), length=st.integers(2, 9))
    def test_nothing_else_is_the_answer(self, processor, seed, length):
        canvas = propose(processor.choices_pattern(CHOICES), len(processor.tokenizer), length, seed=seed)
        assert processor.decode_canvas(canvas) in CHOICES

    @pytest.mark.parametrize(
        ("choices", "message"),
        [
            ([], "one or more strings"),
            ("harbor", "one or more strings"),
            (["yes", 2], "one or more strings"),
            (["yes", " "], "is empty"),
            (["yes", "a<|endoftext|>b"], "special token"),
            (["yes", "an exceedingly long answer"], "tokens, but an answer at most 4"),
        ],
    )
    def test_what_can_be_no_answer_is_refused(self, processor, choices, message):
        with pytest.raises(ValueError, match=message):
            processor.choices_pattern(choices, canvas_length=4)


class TestTasks:
    def test_boxes_have_a_pattern_and_texts_have_none(self, processor):
        assert processor.answer_pattern("vqa") is None
        assert processor.answer_pattern("detect").min_length == 1  # "none"

    @given(seed=st.integers(0, 2**20), length=st.integers(1, 13))
    def test_answers_by_boxes_are_always_understood(self, processor, seed, length):
        canvas = propose(processor.answer_pattern("detect"), len(processor.tokenizer), length, seed=seed)
        answer = processor.post_process_generation(processor.decode_canvas(canvas), "detect", (64, 64), "ship")
        assert answer["parsed"]
        assert len(answer["boxes"]) <= length // 4
        assert answer["boxes"] or answer["text"] == "none"

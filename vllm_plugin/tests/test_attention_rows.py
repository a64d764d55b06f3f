# SPDX-License-Identifier: Apache-2.0
"""Which keys each token sees and where it stands, beside what is written down token by token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit_vllm.attention_rows import AttentionRows, StepTokens


def step(*requests: tuple[int, int, int, int, bool], full: bool = False) -> StepTokens:
    """Make a step of requests (scheduled, computed, prompt, image, is_canvas)."""
    scheduled, computed, prompt, image, is_canvas = (np.asarray(column) for column in zip(*requests, strict=True))
    return StepTokens(scheduled, computed, prompt, image, is_canvas.astype(bool), full)


@st.composite
def steps(draw: st.DrawFn) -> StepTokens:
    """Draw a step of prefills, of which some begin where cached blocks of an image end, and of canvases."""
    full = draw(st.booleans())
    requests = []
    for _ in range(draw(st.integers(1, 5))):
        image = draw(st.integers(0, 6))
        prompt = image + draw(st.integers(1, 5))
        if draw(st.booleans()):
            width = draw(st.integers(1, 4)) + (prompt if full else 0)
            requests.append((width, prompt, prompt, image, True))
        else:
            computed = 0 if full else draw(st.integers(0, prompt - 1))
            requests.append((prompt - computed, computed, prompt, image, False))
    return step(*requests, full=full)


class TestRows:
    def test_of_a_prefill_are_its_image_and_its_prompt(self) -> None:
        rows = AttentionRows.of(step((10, 0, 10, 7, False)))
        assert rows.query_lens.tolist() == [7, 3]
        assert rows.key_lens.tolist() == [7, 10]
        assert rows.query_starts.tolist() == [0, 7, 10]
        assert not rows.are_requests

    def test_of_a_prefill_whose_image_is_cached_in_part_see_all_of_the_image(self) -> None:
        rows = AttentionRows.of(step((6, 4, 10, 7, False)))
        assert rows.query_lens.tolist() == [3, 3]
        assert rows.key_lens.tolist() == [7, 10]

    def test_of_a_prefill_whose_image_is_cached_are_one(self) -> None:
        rows = AttentionRows.of(step((3, 7, 10, 7, False)))
        assert (rows.query_lens.tolist(), rows.key_lens.tolist()) == ([3], [10])
        assert rows.are_requests

    def test_of_a_canvas_see_prompt_and_canvas(self) -> None:
        rows = AttentionRows.of(step((4, 99, 10, 7, True)))
        assert (rows.base_lens.tolist(), rows.canvas_lens.tolist()) == ([10], [4])

    def test_of_a_canvas_that_repeats_its_prompt_see_each_key_once(self) -> None:
        tokens = step((14, 99, 10, 7, True), full=True)
        rows = AttentionRows.of(tokens)
        assert (rows.query_lens.tolist(), rows.base_lens.tolist(), rows.canvas_lens.tolist()) == ([14], [10], [4])
        assert tokens.positions.tolist() == list(range(14))
        assert tokens.logits is not None
        assert tokens.logits.tolist() == [10, 11, 12, 13]

    @given(tokens=steps())
    def test_are_those_of_the_attention_mode(self, tokens: StepTokens) -> None:
        rows = AttentionRows.of(tokens)
        seen = np.repeat(rows.key_lens, rows.query_lens).tolist()
        expected = []
        for request, position in zip(tokens.requests.tolist(), tokens.positions.tolist(), strict=True):
            prompt, image, is_canvas = (x[request] for x in (tokens.prompt, tokens.image, tokens.is_canvas))
            if is_canvas:
                expected.append(prompt + tokens.canvas_lengths[request])
            else:
                is_image = position < image and not tokens.full
                expected.append(image if is_image else prompt)
        assert seen == expected
        assert rows.requests[np.searchsorted(rows.query_starts, 0, side="right") - 1] == 0
        assert np.repeat(rows.requests, rows.query_lens).tolist() == tokens.requests.tolist()


class TestTokens:
    @given(tokens=steps())
    def test_stand_where_they_would_one_request_at_a_time(self, tokens: StepTokens) -> None:
        expected = []
        for scheduled, computed, prompt, is_canvas in zip(
            tokens.scheduled, tokens.computed, tokens.prompt, tokens.is_canvas, strict=True
        ):
            first = computed if not is_canvas else 0 if tokens.full else prompt
            expected.extend(range(first, first + scheduled))
        assert tokens.positions.tolist() == expected

    @given(tokens=steps())
    def test_with_logits_are_those_of_canvases(self, tokens: StepTokens) -> None:
        drafts = np.flatnonzero(tokens.is_canvas[tokens.requests])
        found = drafts if tokens.logits is None else drafts[tokens.logits]
        is_canvas_itself = tokens.positions >= tokens.prompt[tokens.requests]
        assert found.tolist() == [place for place in drafts if is_canvas_itself[place]]
        assert len(found) == tokens.canvas_lengths.sum()

    @pytest.mark.parametrize("full", [False, True])
    def test_of_a_step_without_canvases_have_no_logits(self, full: bool) -> None:
        tokens = step((10, 0, 10, 7, False), full=full)
        assert tokens.canvas_lengths.tolist() == [0]
        assert tokens.logits is None or not len(tokens.logits)

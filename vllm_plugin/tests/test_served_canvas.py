# SPDX-License-Identifier: Apache-2.0
"""How long prompts and canvases may be."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from geodit_vllm.served_canvas import ServedCanvas

PREFIX = ServedCanvas.of(SimpleNamespace(attention_mode="prefix", longest_canvas=32), 256)
FULL = ServedCanvas.of(SimpleNamespace(attention_mode="full", longest_canvas=32), 512)


class TestWidth:
    def test_of_a_request_is_its_canvas(self) -> None:
        assert PREFIX.width(100, 16) == 16
        assert PREFIX.widest == 32

    def test_of_a_request_that_repeats_its_prompt_is_both(self) -> None:
        assert FULL.width(100, 16) == 116
        assert FULL.widest == 256

    @pytest.mark.parametrize("limits", [PREFIX, FULL])
    def test_of_no_request_that_is_served_is_above_what_vllm_is_told(self, limits: ServedCanvas) -> None:
        limits.check(limits.longest_request - limits.longest_canvas, limits.longest_canvas)
        assert limits.width(limits.longest_request - limits.longest_canvas, limits.longest_canvas) <= limits.widest


class TestCheck:
    @pytest.mark.parametrize("limits", [PREFIX, FULL])
    def test_allows_what_fits(self, limits: ServedCanvas) -> None:
        assert limits.longest_request == 256
        limits.check(1, 1)
        limits.check(224, 32)

    @pytest.mark.parametrize("limits", [PREFIX, FULL])
    @pytest.mark.parametrize(
        ("prompt", "canvas", "message"),
        [
            (10, 33, r"^the canvas must have 1 to 32 tokens, got 33: "),
            (10, 0, r"^the canvas must have 1 to 32 tokens, got 0: "),
            (0, 10, r"^the prompt is empty\."),
            (225, 32, r"^prompt and canvas have 225 \+ 32 tokens, but the model is served with 256: "),
        ],
    )
    def test_refuses_what_does_not(self, limits: ServedCanvas, prompt: int, canvas: int, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            limits.check(prompt, canvas)

    def test_of_a_canvas_as_long_as_all_that_is_served_leaves_a_token_to_the_prompt(self) -> None:
        assert ServedCanvas.of(SimpleNamespace(attention_mode="prefix", longest_canvas=500), 64).longest_canvas == 63

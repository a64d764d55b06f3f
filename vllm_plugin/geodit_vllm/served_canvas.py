# SPDX-License-Identifier: Apache-2.0
"""How long prompts and canvases may be: the one place for the arithmetic of both attention modes.

vLLM schedules the canvas of a request as draft tokens after its prompt. How many they are, the *width* of the request,
depends on the attention mode:

* `attention_mode="prefix"`: keys and values of the prompt do not depend on the canvas. The width is the length of the
  canvas, and a request takes P + L positions.
* `attention_mode="full"`: every token of the prompt sees the canvas, so that the prompt is run again in each step. The
  width is P + L, the prompt and the canvas, and vLLM counts P + (P + L) positions. Those that the network sees are
  P + L all the same: the repeated prompt is written over its own keys and values. So vLLM is told a model length that
  is twice as long as that of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["ServedCanvas"]


@dataclass(frozen=True)
class ServedCanvas:
    """Limits of what is served.

    Args:
        full: Whether this is `attention_mode="full"`.
        longest_canvas: Most tokens of a canvas.
        longest_request: Most tokens of prompt and canvas together, which the network sees.
    """

    full: bool
    longest_canvas: int
    longest_request: int

    @classmethod
    def of(cls, hf_config: Any, max_model_len: int) -> ServedCanvas:
        """Return the limits of a model that [`GeoDiTVllmConfig`] has prepared.

        Args:
            hf_config: Its `GeoDiTConfig`, with `longest_canvas`.
            max_model_len: Of vLLM's model configuration, which may have become shorter since.
        """
        full = hf_config.attention_mode == "full"
        longest_request = max_model_len // 2 if full else max_model_len
        return cls(full, min(int(hf_config.longest_canvas), longest_request - 1), longest_request)

    @property
    def widest(self) -> int:
        """Most draft tokens of a request: what vLLM calls the length of the canvas."""
        return self.longest_request if self.full else self.longest_canvas

    def width(self, prompt_length: int, canvas_length: int) -> int:
        """Return the draft tokens of a request: what vLLM's scheduler reads as `diffusion_canvas_length`."""
        return prompt_length + canvas_length if self.full else canvas_length

    def check(self, prompt_length: int, canvas_length: int) -> None:
        """Refuse a request that is too long.

        Args:
            prompt_length: Tokens of the prompt, those of the image included.
            canvas_length: Tokens of the canvas.

        Raises:
            ValueError: saying what is too long and what is allowed.
        """
        if not 1 <= canvas_length <= self.longest_canvas:
            raise ValueError(
                f"the canvas must have 1 to {self.longest_canvas} tokens, got {canvas_length}: ask for fewer, or "
                "serve the model with a longer --diffusion-config canvas_length."
            )
        if prompt_length < 1:
            raise ValueError("the prompt is empty.")
        if prompt_length + canvas_length > self.longest_request:
            raise ValueError(
                f"prompt and canvas have {prompt_length} + {canvas_length} tokens, but the model is served with "
                f"{self.longest_request}: shorten the prompt or the canvas."
            )

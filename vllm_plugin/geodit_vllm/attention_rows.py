# SPDX-License-Identifier: Apache-2.0
"""Who sees whom, told to an attention backend that knows only lengths.

A backend takes the tokens of a step as rows: so many queries in succession, which see the first so many keys of the
request they belong to. Nothing is causal. GeoDiT's two attention modes are made of that exactly, as all keys and
values of a step are written before any query looks at them:

* A prefill with an image in front is two rows of the same request: the n tokens of the image, which see the n keys of
  the image, and the p tokens of the prompt, which see n + p keys.
* A canvas is one row, which sees the prompt and the canvas.
* With `attention_mode="full"` the canvas repeats its prompt, written over its keys and values. It is one row of P + L
  tokens, which see P + L keys. The prefill before it is looked at by nobody.

Everything here is known on the host, so that nothing is read back from the device. Shapes: R requests of a step, S
rows, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["AttentionRows", "StepTokens"]

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class StepTokens:
    """What vLLM has scheduled for the requests of a step, and what is known of them.

    Args:
        scheduled: `(R,)` tokens of each request.
        computed: `(R,)` tokens before them whose keys and values exist. Counts for prefills.
        prompt: `(R,)` tokens of the prompt.
        image: `(R,)` those of the image at its front, 0 without an image.
        is_canvas: `(R,)` true for a step of the canvas, false for a prefill.
        full: Whether this is `attention_mode="full"`, where the canvas repeats its prompt.
    """

    scheduled: Ints
    computed: Ints
    prompt: Ints
    image: Ints
    is_canvas: Bools
    full: bool

    @property
    def first_position(self) -> Ints:
        """`(R,)`: where the first token of each request stands."""
        return np.where(self.is_canvas, 0 if self.full else self.prompt, self.computed)

    @property
    def num_repeated(self) -> Ints:
        """`(R,)`: how many tokens of the prompt come again in front of the canvas."""
        return np.where(self.is_canvas, np.minimum(self.prompt, self.scheduled) if self.full else 0, 0)

    @property
    def canvas_lengths(self) -> Ints:
        """`(R,)`: tokens of the canvas itself, 0 for prefills."""
        return np.where(self.is_canvas, self.scheduled - self.num_repeated, 0)

    @property
    def requests(self) -> Ints:
        """`(T,)`: the request of each token."""
        return np.repeat(np.arange(len(self.scheduled)), self.scheduled)

    @property
    def positions(self) -> Ints:
        """`(T,)`: the position of each token in its request."""
        starts = np.cumsum(self.scheduled) - self.scheduled
        shift: Ints = np.repeat(self.first_position - starts, self.scheduled)
        return shift + np.arange(len(shift))

    @property
    def logits(self) -> Ints | None:
        """Which rows of vLLM's logits, those of all draft tokens, are of canvases; `None` if all of them are."""
        if not self.full:
            return None
        drafts = np.where(self.is_canvas, self.scheduled, 0)
        starts = np.cumsum(drafts) - drafts
        skipped = np.repeat(starts + self.num_repeated, drafts)
        return np.flatnonzero(np.arange(int(drafts.sum())) >= skipped)


@dataclass(frozen=True)
class AttentionRows:
    """The rows of a step.

    Args:
        requests: `(S,)`: the request of each row.
        query_lens: `(S,)`: its tokens.
        base_lens: `(S,)`: the keys that it sees, without those of the canvas.
        canvas_lens: `(S,)`: the keys of the canvas that it sees, if all of the canvas is there.
    """

    requests: Ints
    query_lens: Ints
    base_lens: Ints
    canvas_lens: Ints

    @classmethod
    def of(cls, tokens: StepTokens) -> AttentionRows:
        """Return the rows of a step."""
        scheduled, computed = tokens.scheduled, tokens.computed
        # In full mode what a prefill computes is not looked at: one row is as good as two.
        image = np.zeros_like(scheduled) if tokens.full else np.where(tokens.is_canvas, 0, tokens.image)
        of_image = np.clip(image - computed, 0, scheduled)
        is_split = (of_image > 0) & (of_image < scheduled)
        requests = np.repeat(np.arange(len(scheduled)), 1 + is_split)
        is_first = np.concatenate([np.ones(1, np.bool_), requests[1:] != requests[:-1]])
        is_image = is_first & is_split[requests]
        seen_by_prefill = np.where(is_image, image[requests], (computed + scheduled)[requests])
        return cls(
            requests=requests,
            query_lens=np.where(is_image, of_image[requests], (scheduled - np.where(is_split, of_image, 0))[requests]),
            base_lens=np.where(tokens.is_canvas[requests], tokens.prompt[requests], seen_by_prefill),
            canvas_lens=tokens.canvas_lengths[requests],
        )

    @property
    def key_lens(self) -> Ints:
        """`(S,)`: the keys that each row sees, if all of each canvas is there."""
        return self.base_lens + self.canvas_lens

    @property
    def query_starts(self) -> Ints:
        """`(S + 1,)`: the first token of each row, and the number of tokens."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.query_lens)])

    @property
    def are_requests(self) -> bool:
        """Whether each request is one row."""
        return len(self.requests) == (int(self.requests[-1]) + 1 if len(self.requests) else 0)

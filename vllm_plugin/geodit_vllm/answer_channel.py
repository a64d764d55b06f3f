# SPDX-License-Identifier: Apache-2.0
"""How what is known of a finished canvas comes from the worker to the scheduler: as log-probabilities of its tokens.

vLLM brings two things from the device to the host after a step without waiting for it: the tokens, and their
log-probabilities. What else is known of an answer travels as further columns of the latter.

Shapes: R requests of a step, L longest canvas, C answers that patterns list at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from vllm.v1.outputs import LogprobsLists, LogprobsTensors

from geodit.modeling_geodit.denoising_state_geodit import DenoisingState

__all__ = ["CanvasFacts", "for_client", "pack_facts", "unpack_facts"]

_TOKEN, _END, _STEP, _ROW = range(4)
_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class CanvasFacts:
    """What is known of a finished canvas of L tokens.

    Args:
        tokens: The tokens.
        confidences: `(L,)` float32, see [`GeoDiTGenerateOutput`].
        end_probabilities: `(L,)` float32, likewise.
        commit_steps: `(L,)` int64, likewise.
        steps_made: In how many steps it was denoised.
        answer_probabilities: `(C,)` float32, of the answers that a pattern lists; zeros without one.
    """

    tokens: tuple[int, ...]
    confidences: NDArray[np.float32]
    end_probabilities: NDArray[np.float32]
    commit_steps: NDArray[np.int64]
    steps_made: int
    answer_probabilities: NDArray[np.float32]


def pack_facts(state: DenoisingState, rows: torch.Tensor, eos_token_id: int) -> LogprobsTensors:
    """Write what is known of canvases as log-probabilities, on their device.

    Args:
        state: The canvases.
        rows: `(R,)` int64, which of them.
        eos_token_id: The token that end probabilities are shown for.

    Returns:
        Of every position of every canvas: its token and EOS with their probabilities, and in further columns what
        [`unpack_facts`] reads.
    """
    tokens = state.canvas.index_select(0, rows)
    num_rows, length = tokens.shape
    # One number of a whole row after the other, as many columns as it takes.
    numbers = torch.cat([state.steps_made.unsqueeze(-1).float(), state.answer_probabilities.float()], -1)
    width = -(-numbers.shape[1] // length)
    numbers = torch.nn.functional.pad(numbers.index_select(0, rows), (0, width * length - numbers.shape[1]))
    columns = [
        state.confidences.index_select(0, rows).clamp_min(_TINY).log().unsqueeze(-1),
        state.end_probabilities.index_select(0, rows).clamp_min(_TINY).log().unsqueeze(-1),
        state.commit_steps.index_select(0, rows).float().unsqueeze(-1),
        numbers.view(num_rows, width, length).transpose(1, 2),
    ]
    values = torch.cat(columns, -1).flatten(0, 1)
    ids = torch.zeros_like(values, dtype=torch.int32)
    ids[:, _TOKEN] = tokens.flatten()
    ids[:, _END].fill_(eos_token_id)
    ranks = torch.ones(len(values), dtype=torch.int32, device=values.device)
    starts = list(range(0, num_rows * length + 1, length))
    return LogprobsTensors(ids, values, ranks, starts)


def unpack_facts(logprobs: LogprobsLists, place: int, tokens: list[int]) -> CanvasFacts:
    """Read what [`pack_facts`] wrote.

    Args:
        logprobs: Of all requests of a step, on the host.
        place: The place of a request among them.
        tokens: The whole canvas of the request.
    """
    starts = logprobs.cu_num_generated_tokens
    assert starts is not None
    values = logprobs.logprobs[starts[place] : starts[place + 1]]
    numbers = values[:, _ROW:].T.flatten()
    steps = values[: len(tokens), _STEP].astype(np.int64)
    committed = steps >= 0
    return CanvasFacts(
        tokens=tuple(tokens),
        confidences=np.where(committed, np.exp(values[: len(tokens), _TOKEN]), np.float32(0)),
        end_probabilities=np.where(committed, np.exp(values[: len(tokens), _END]), np.float32(0)),
        commit_steps=steps,
        steps_made=int(numbers[0]),
        answer_probabilities=numbers[1:],
    )


def for_client(logprobs: LogprobsLists, num_logprobs: int) -> LogprobsLists:
    """Return the log-probabilities that a client is shown: of the token, and of EOS if it asked for more."""
    shown = min(num_logprobs, 1) + 1
    return logprobs._replace(
        logprob_token_ids=logprobs.logprob_token_ids[:, :shown], logprobs=logprobs.logprobs[:, :shown]
    )

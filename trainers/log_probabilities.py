# SPDX-License-Identifier: Apache-2.0
"""How probable a masked diffusion model finds an answer, token by token.

The probability of an answer is a sum over all orders of unmasking, which nobody can compute. Two estimators from the
literature stand in for it:

* `one_step` (d1; Zhao et al., 2025, https://arxiv.org/abs/2504.12216): all tokens are hidden at once, and each has the
  probability that the network gives it in its first denoising step. Part of the prompt is hidden too, anew each time,
  so that several updates on the same answers do not see the same input.
* `coupled` (DiffuCoder; Gong et al., 2025, https://arxiv.org/abs/2506.20639): a random part of the tokens is hidden,
  and then the rest. Each token is hidden once, and is predicted with part of the others in sight.

Shapes: N rows, Q prompt length, L canvas length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from geodit.trainers.rollouts import Rollouts

LOG_PROBABILITY_ESTIMATORS = ("one_step", "coupled")

# Shares of the tokens that `coupled` hides first: with nearly all or nearly none the two passes teach little.
_HIDDEN_SHARE = (0.2, 0.8)


@dataclass(frozen=True)
class HiddenTokens:
    """What an estimate hides. Old, new and reference model have to be asked about the same.

    Args:
        prompt: `(N, Q)` bool.
        canvases: One `(N, L)` bool a pass; together they hide every token of the canvas once.
    """

    prompt: torch.Tensor
    canvases: tuple[torch.Tensor, ...]

    def take(self, rows: torch.Tensor) -> HiddenTokens:
        """Some of the rows."""
        return HiddenTokens(self.prompt[rows], tuple(canvas[rows] for canvas in self.canvases))


def draw_hidden_tokens(
    rollouts: Rollouts,
    *,
    estimator: str,
    prompt_masking: float,
    image_token_id: int | None,
    generator: torch.Generator,
) -> HiddenTokens:
    """Decide at random what an estimate hides.

    Args:
        rollouts: The answers.
        estimator: One of `LOG_PROBABILITY_ESTIMATORS`.
        prompt_masking: Probability that a token of the prompt is hidden. The image never is.
        image_token_id: Its placeholder.
        generator: A CPU generator.

    Raises:
        ValueError: for another estimator.
    """
    if estimator not in LOG_PROBABILITY_ESTIMATORS:
        raise ValueError(f"The estimator must be one of {', '.join(LOG_PROBABILITY_ESTIMATORS)}, got {estimator!r}.")
    device, canvas = rollouts.canvas_ids.device, rollouts.canvas_mask
    drawn = torch.rand(rollouts.prompt_ids.shape, generator=generator).to(device)
    prompt = (drawn < prompt_masking) & rollouts.prompt_mask & (rollouts.prompt_ids != image_token_id)
    if estimator == "one_step":
        return HiddenTokens(prompt, (canvas,))
    low, high = _HIDDEN_SHARE
    share = low + (high - low) * torch.rand(len(rollouts), 1, generator=generator)
    first = canvas & (torch.rand(canvas.shape, generator=generator) < share).to(device)
    return HiddenTokens(prompt, (first, canvas & ~first))


def token_log_probabilities(
    model: Any,
    rollouts: Rollouts,
    hidden: HiddenTokens,
    *,
    mask_token_id: int,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Estimate the log-probability of each token that an answer is made up of.

    Args:
        model: The network, possibly wrapped for distribution.
        rollouts: The answers.
        hidden: What is hidden in which pass.
        mask_token_id: Id of `[M]`.
        temperature: That the answers were sampled with: the probabilities are those of `softmax(logits / temperature)`.

    Returns:
        `(N, L)` float32, 0 where `rollouts.decided` is false. The vocabulary is projected to the decided tokens only.
    """
    # All passes in one: a model that is wrapped for distribution expects one forward for each backward.
    hidden_tokens = torch.stack(hidden.canvases)
    passes = len(hidden_tokens)
    asked = hidden_tokens & rollouts.decided
    canvas_ids = rollouts.canvas_ids.expand_as(hidden_tokens).masked_fill(hidden_tokens, mask_token_id)
    prompt_ids = rollouts.prompt_ids.masked_fill(hidden.prompt, mask_token_id)
    prompt_mask, canvas_mask = rollouts.prompt_mask, rollouts.canvas_mask
    logits = model(
        input_ids=torch.cat([prompt_ids.repeat(passes, 1), canvas_ids.flatten(0, 1)], dim=1),
        attention_mask=torch.cat([prompt_mask, canvas_mask], dim=1).long().repeat(passes, 1),
        canvas_mask=torch.cat([torch.zeros_like(prompt_mask), canvas_mask], dim=1).repeat(passes, 1),
        logits_to_keep=torch.cat([torch.zeros_like(prompt_mask).repeat(passes, 1), asked.flatten(0, 1)], dim=1),
        **rollouts.images_of_rows(passes),
    ).logits
    labels = rollouts.canvas_ids.expand_as(asked)[asked]
    found = -cross_entropy(logits.float() / temperature, labels, reduction="none")
    return torch.zeros(asked.shape, device=found.device).masked_scatter(asked, found).sum(0)

# SPDX-License-Identifier: Apache-2.0
"""How probable a masked diffusion model finds an answer, token by token.

The probability of an answer is a sum over all orders of unmasking, which nobody can compute. Three estimators from the
literature stand in for it:

* `one_step` (d1; Zhao et al., 2025, https://arxiv.org/abs/2504.12216): all tokens are hidden at once, and each has the
  probability that the network gives it in its first denoising step. Part of the prompt is hidden too, anew each time,
  so that several updates on the same answers do not see the same input.
* `coupled` (DiffuCoder; Gong et al., 2025, https://arxiv.org/abs/2506.20639): a random part of the tokens is hidden,
  and then the rest. Each token is hidden once, and is predicted with part of the others in sight.
* `trajectory` (TraceRL; Wang et al., 2025, https://arxiv.org/abs/2509.06949): the steps in which the answer came about
  are taken again. Each token has the probability that it was sampled with.

Shapes: N rows, T passes, Q prompt length, L canvas length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from geodit.trainers.grpo.rollouts import Rollouts

LOG_PROBABILITY_ESTIMATORS = ("one_step", "coupled", "trajectory")

# Shares of the tokens that `coupled` hides first: with nearly all or nearly none the two passes teach little.
_HIDDEN_SHARE = (0.2, 0.8)


@dataclass(frozen=True)
class HiddenTokens:
    """What an estimate hides. Old, new and reference model have to be asked about the same.

    Args:
        prompt: `(N, Q)` bool.
        canvas: `(T, N, L)` bool, what each pass hides of the canvas.
        asked: `(T, N, L)` bool, the hidden tokens whose probability each pass gives. Every token that makes up an
            answer is asked about in one pass.
    """

    prompt: torch.Tensor
    canvas: torch.Tensor
    asked: torch.Tensor

    def take(self, rows: torch.Tensor) -> HiddenTokens:
        """Return some of the rows."""
        return HiddenTokens(self.prompt[rows], self.canvas[:, rows], self.asked[:, rows])


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
    if estimator == "trajectory":
        committed = rollouts.commit_steps
        steps = torch.arange(int(committed.max()) + 1, device=device)[:, None, None]
        hidden = canvas & ((committed < 0) | (committed >= steps))
        return HiddenTokens(prompt, hidden, (committed == steps) & rollouts.decided)
    if estimator == "one_step":
        hidden = canvas[None]
    else:
        low, high = _HIDDEN_SHARE
        share = low + (high - low) * torch.rand(len(rollouts), 1, generator=generator)
        first = canvas & (torch.rand(canvas.shape, generator=generator) < share).to(device)
        hidden = torch.stack([first, canvas & ~first])
    return HiddenTokens(prompt, hidden, hidden & rollouts.decided)


def token_log_probabilities(
    model: nn.Module,
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
        temperature: That of sampling: the probabilities are those of `softmax(logits / temperature)`.

    Returns:
        `(N, L)` float32, 0 where `rollouts.decided` is false. The vocabulary is projected to the decided tokens only.
    """
    # All passes in one, as a model that is wrapped for distribution expects one forward for each backward; and only
    # the rows of a pass that are asked about.
    passes, rows = hidden.asked.any(-1).nonzero(as_tuple=True)
    asked, canvas_ids = hidden.asked[passes, rows], rollouts.canvas_ids[rows]
    shown_canvas = canvas_ids.masked_fill(hidden.canvas[passes, rows], mask_token_id)
    shown_prompt = rollouts.prompt_ids.masked_fill(hidden.prompt, mask_token_id)[rows]
    prompt_mask, canvas_mask = rollouts.prompt_mask[rows], rollouts.canvas_mask[rows]
    nowhere = torch.zeros_like(prompt_mask)
    logits = model(
        input_ids=torch.cat([shown_prompt, shown_canvas], dim=1),
        attention_mask=torch.cat([prompt_mask, canvas_mask], dim=1).long(),
        canvas_mask=torch.cat([nowhere, canvas_mask], dim=1),
        logits_to_keep=torch.cat([nowhere, asked], dim=1),
        **rollouts.images_of_rows(rows),
    ).logits
    found = -cross_entropy(logits.float() / temperature, canvas_ids[asked], reduction="none")
    of_passes = torch.zeros(asked.shape, device=found.device).masked_scatter(asked, found)
    return torch.zeros(rollouts.canvas_ids.shape, device=found.device).index_add(0, rows, of_passes)

# SPDX-License-Identifier: Apache-2.0
"""The objective of GRPO as functions of tensors, as TRL has it.

Shao et al., DeepSeekMath, 2024, equations 3 and 4; the ways to average are those of GRPO, BNPO, Dr. GRPO (Liu et al.,
2025) and DAPO (Yu et al., 2025). Shapes: N rows, L canvas length, F rewards.
"""

from __future__ import annotations

import torch
from trl.trainer.utils import nanstd

LOSS_TYPES = ("grpo", "bnpo", "dr_grpo", "dapo")
REWARD_SCALINGS = ("group", "batch", "none")

_EPS = 1e-4  # TRL's


def total_rewards(rewards: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted sum `(N,)` of rewards `(N, F)`; nan says nothing, and a row of only nan stays nan."""
    total = (rewards * weights).nansum(dim=1)
    return total.masked_fill(rewards.isnan().all(dim=1), torch.nan)


def group_advantages(
    rewards: torch.Tensor, num_generations: int, scale: str = "group", batch_std: torch.Tensor | None = None
) -> torch.Tensor:
    """Return how much better each answer is than the others to its prompt.

    Args:
        rewards: `(N,)`, the answers to a prompt one after the other; nan where nothing could be said.
        num_generations: Answers to each prompt.
        scale: Divide by the standard deviation of the prompt's group (`"group"`), by `batch_std` (`"batch"`), or
            not at all (`"none"`).
        batch_std: Standard deviation of all rewards, on all processes.

    Returns:
        `(N,)`, 0 where nothing could be said.
    """
    groups = rewards.view(-1, num_generations)
    advantages = groups - groups.nanmean(dim=1, keepdim=True)
    if scale == "group":
        advantages = advantages / (nanstd(groups, dim=1, keepdim=True) + _EPS)
    elif scale == "batch":
        advantages = advantages / ((nanstd(rewards) if batch_std is None else batch_std) + _EPS)
    return advantages.nan_to_num(nan=0.0).flatten()


def clipped_token_loss(
    log_probabilities: torch.Tensor,
    old_log_probabilities: torch.Tensor,
    advantages: torch.Tensor,
    decided: torch.Tensor,
    *,
    epsilon_low: float,
    epsilon_high: float,
    level: str = "token",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the clipped surrogate of each token, negated.

    Args:
        log_probabilities: `(N, L)` under the model that learns.
        old_log_probabilities: `(N, L)` under the model that answered.
        advantages: `(N,)`.
        decided: `(N, L)` bool, the tokens that count.
        epsilon_low: How far below 1 the ratio of probabilities may count.
        epsilon_high: How far above.
        level: `"token"` takes the ratio of each token, `"sequence"` the geometric mean over the answer (GSPO).

    Returns:
        `(N, L)` losses, and the ratios, `(N, L)` or `(N, 1)`.
    """
    log_ratio = (log_probabilities - old_log_probabilities).masked_fill(~decided, 0.0)
    if level == "sequence":
        log_ratio = log_ratio.sum(1, keepdim=True) / decided.sum(1, keepdim=True).clamp(min=1)
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - epsilon_low, 1 + epsilon_high)
    advantages = advantages[:, None]
    loss = -torch.minimum(ratio * advantages, clipped * advantages)
    return loss.expand(decided.shape), ratio


def kl_estimate(log_probabilities: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Estimate KL(model || reference) at each token by Schulman's `r - 1 - log r`, never negative; both `(N, L)`."""
    difference = reference - log_probabilities
    return difference.exp() - difference - 1


def average_loss(
    token_loss: torch.Tensor, decided: torch.Tensor, loss_type: str, *, canvas_length: int, num_tokens: float
) -> torch.Tensor:
    """Average the losses of a micro-batch.

    Args:
        token_loss: `(N, L)`.
        decided: `(N, L)` bool, the tokens that count.
        loss_type: `"grpo"` over each answer, then over answers; `"bnpo"` over the tokens of the micro-batch;
            `"dr_grpo"` by the answers and `canvas_length`; `"dapo"` by `num_tokens`.
        canvas_length: The most tokens that an answer has.
        num_tokens: The tokens that count in a micro-batch, on average over those of the update.

    Raises:
        ValueError: for another loss type.
    """
    total = token_loss.masked_fill(~decided, 0.0)
    if loss_type == "grpo":
        return (total.sum(1) / decided.sum(1).clamp(min=1)).mean()
    if loss_type == "bnpo":
        return total.sum() / decided.sum().clamp(min=1)
    if loss_type == "dr_grpo":
        return total.sum() / (len(total) * canvas_length)
    if loss_type == "dapo":
        return total.sum() / max(num_tokens, 1.0)
    raise ValueError(f"loss_type must be one of {', '.join(LOSS_TYPES)}, got {loss_type!r}.")

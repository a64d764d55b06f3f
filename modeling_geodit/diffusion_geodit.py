# SPDX-License-Identifier: Apache-2.0
"""The masked diffusion process: what is hidden while training, and the loss that it is hidden for.

Pure functions over tensors; LLaDA's objective (Nie et al., 2025, equations 2 and 3, and `GUIDELINES.md` of its
reference code for the floor `eps`).
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class NoisedBatch:
    """A batch after the forward process.

    Args:
        input_ids: `(B, L)`, the tokens with `[M]` at the masked positions.
        masked: `(B, L)` bool, true where a token was replaced.
        mask_probability: `(B,)` float32, the p that each row was masked with.
    """

    input_ids: torch.Tensor
    masked: torch.Tensor
    mask_probability: torch.Tensor


def sample_timesteps(
    batch_size: int, *, generator: torch.Generator | None = None, stratified: bool = False
) -> torch.Tensor:
    """Draw t ~ U[0, 1), one for each row.

    Args:
        batch_size: B.
        generator: Source of the random numbers; a CPU generator, so that a seed means the same everywhere.
        stratified: Spread the draws evenly over [0, 1) by one shared offset. Each t is still uniform, but
            their mean varies less from batch to batch (Kingma et al., Variational Diffusion Models, app. I.1).

    Returns:
        `(B,)` float32 on the CPU.
    """
    if not stratified:
        return torch.rand(batch_size, generator=generator)
    offset = torch.rand(1, generator=generator)
    strata = (offset + torch.arange(batch_size) / batch_size) % 1.0
    return strata[torch.randperm(batch_size, generator=generator)]


def forward_process(
    input_ids: torch.Tensor,
    canvas_mask: torch.Tensor,
    mask_token_id: int,
    *,
    timesteps: torch.Tensor | None = None,
    eps: float = 1e-3,
    generator: torch.Generator | None = None,
) -> NoisedBatch:
    """q(x_t | x_0): replace each token of the canvas by `[M]` independently with probability p = (1-eps) t + eps.

    Args:
        input_ids: `(B, L)` true tokens.
        canvas_mask: `(B, L)` bool, true where a token may be hidden: the answer and the EOS behind it. The
            prompt and the image are never masked.
        mask_token_id: The id of `[M]`.
        timesteps: `(B,)` in [0, 1]; drawn by [`sample_timesteps`] when not given.
        eps: Floor of p, which bounds the weight 1/p of a masked token.
        generator: A CPU generator.

    Raises:
        ValueError: for shapes that do not fit, or a timestep outside [0, 1].
    """
    if canvas_mask.shape != input_ids.shape:
        raise ValueError(
            f"canvas_mask has shape {tuple(canvas_mask.shape)}, input_ids {tuple(input_ids.shape)}: they must agree."
        )
    if timesteps is None:
        timesteps = sample_timesteps(input_ids.shape[0], generator=generator)
    if timesteps.shape != input_ids.shape[:1] or bool(((timesteps < 0) | (timesteps > 1)).any()):
        raise ValueError(f"timesteps must be {input_ids.shape[0]} numbers in [0, 1], got {timesteps.tolist()}.")
    device = input_ids.device
    probability = ((1 - eps) * timesteps.float() + eps).to(device)
    canvas_mask = canvas_mask.bool()
    # One number for each token of the canvas and none for the rest: padding a batch does not change its noise.
    uniform = torch.ones(input_ids.shape, device=device)
    uniform[canvas_mask] = torch.rand(int(canvas_mask.sum()), generator=generator).to(device)
    masked = canvas_mask & (uniform < probability[:, None])
    return NoisedBatch(input_ids.masked_fill(masked, mask_token_id), masked, probability)


def masked_diffusion_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    noised: NoisedBatch,
    canvas_mask: torch.Tensor,
    *,
    num_sequences: int | torch.Tensor | None = None,
) -> torch.Tensor:
    """Upper bound on the negative log-likelihood per token: 1/p weighted cross-entropy at masked positions only.

    `loss = 1/B sum_b 1/L_b sum_{i masked} CE(logits_i, label_i) / p_b`, with L_b the canvas length of row b.
    Adding up the losses of micro-batches that share one `num_sequences` gives the loss of the whole batch.

    Args:
        logits: `(K, V)`, predictions at the K masked positions in row-major order
            (`logits_to_keep=noised.masked`).
        labels: `(B, L)` true tokens.
        noised: The batch that the logits were computed from.
        canvas_mask: `(B, L)` bool, the canvas of each row.
        num_sequences: Divisor in place of B, for gradient accumulation.

    Returns:
        A scalar in float32. With nothing masked it is 0 and still differentiable.
    """
    token_loss = torch.nn.functional.cross_entropy(logits.float(), labels[noised.masked], reduction="none")
    canvas_length = canvas_mask.sum(-1).clamp(min=1)
    row_weight = 1.0 / (noised.mask_probability * canvas_length)
    weights = row_weight[:, None].expand_as(noised.masked)[noised.masked]
    divisor = noised.masked.shape[0] if num_sequences is None else num_sequences
    return (token_loss * weights).sum() / divisor


__all__ = ["NoisedBatch", "forward_process", "masked_diffusion_loss", "sample_timesteps"]

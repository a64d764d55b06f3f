# SPDX-License-Identifier: Apache-2.0
"""The masked diffusion process: what is hidden while training, and the loss that it is hidden for.

Pure functions over tensors; LLaDA's objective (Nie et al., 2025, equations 2 and 3, and `GUIDELINES.md` of its
reference code for the floor `eps`).
"""

from dataclasses import dataclass

import torch

LOSS_WEIGHTINGS = ("inverse", "uniform")
"""What the masked tokens of an answer count in the loss; see [`forward_process`]."""


@dataclass(frozen=True)
class NoisedBatch:
    """A batch after the forward process.

    Args:
        input_ids: `(B, L)`, the tokens with `[M]` at the masked positions.
        masked: `(B, L)` bool, true where a token was replaced.
        weights: `(B, L)` float32, what a masked token counts in the loss: with inverse weighting `1 / (p L_s)` on the
            canvas of an answer of L_s tokens that was masked with probability p; 0 off the canvas.
        num_sequences: The answers in the batch: B, or more where rows hold several questions.
    """

    input_ids: torch.Tensor
    masked: torch.Tensor
    weights: torch.Tensor
    num_sequences: int


def number_canvases(canvas_mask: torch.Tensor, segment_ids: torch.Tensor | None = None) -> tuple[torch.Tensor, int]:
    """Number the answers of a batch, row by row: each is a sequence of its own for the diffusion process.

    Args:
        canvas_mask: `(B, L)` bool, true on the canvas.
        segment_ids: `(B, L)` integers that tell the questions of a row apart; `None` for one question a row.

    Returns:
        `(B, L)` int64, the number of the answer that a canvas position belongs to and -1 elsewhere, and how many
        answers there are.
    """
    canvas_mask = canvas_mask.bool()
    key = torch.arange(canvas_mask.shape[0], device=canvas_mask.device)[:, None].expand_as(canvas_mask)
    if segment_ids is not None:
        key = key * (segment_ids.max() + 1) + segment_ids
    present, numbers = key[canvas_mask].unique(return_inverse=True)
    numbering = torch.full(canvas_mask.shape, -1, device=canvas_mask.device)
    numbering[canvas_mask] = numbers
    return numbering, present.numel()


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
    segment_ids: torch.Tensor | None = None,
    timesteps: torch.Tensor | None = None,
    uniform: torch.Tensor | None = None,
    eps: float = 1e-3,
    weighting: str = "inverse",
    stratified: bool = False,
    generator: torch.Generator | None = None,
) -> NoisedBatch:
    """q(x_t | x_0): replace each token of an answer by `[M]` independently with probability p = (1-eps) t + eps.

    Args:
        input_ids: `(B, L)` true tokens.
        canvas_mask: `(B, L)` bool, true where a token may be hidden: the answers and the EOS behind them. The
            prompt and the image are never masked.
        mask_token_id: The id of `[M]`.
        segment_ids: `(B, L)`, where rows hold several questions; each of S answers then has a timestep of its own.
        timesteps: `(S,)` in [0, 1], one for each answer (S is B with one question a row); drawn by
            [`sample_timesteps`] when not given.
        uniform: `(K,)` in [0, 1), one number for each of the K canvas tokens in row-major order: a token is hidden
            where its number is below p. Drawn when not given.
        eps: Floor of p, which bounds the weight 1/p of a masked token.
        weighting: `"inverse"` weighs masked tokens by 1/p, which makes the loss a bound on the likelihood (LLaDA, the
            paper). `"uniform"` weighs all alike, by 1/E[p], as MaskGIT does: the same on average over t and much less
            noisy, but no bound.
        stratified: How timesteps are drawn when they are not given, see [`sample_timesteps`].
        generator: A CPU generator.

    Raises:
        ValueError: for shapes that do not fit, a timestep outside [0, 1], or an unknown weighting.
    """
    if weighting not in LOSS_WEIGHTINGS:
        raise ValueError(f"weighting must be one of {', '.join(LOSS_WEIGHTINGS)}, got {weighting!r}.")
    if canvas_mask.shape != input_ids.shape:
        raise ValueError(
            f"canvas_mask has shape {tuple(canvas_mask.shape)}, input_ids {tuple(input_ids.shape)}: they must agree."
        )
    device, canvas_mask = input_ids.device, canvas_mask.bool()
    numbering, num_sequences = number_canvases(canvas_mask, segment_ids)
    if timesteps is None:
        timesteps = sample_timesteps(num_sequences, generator=generator, stratified=stratified)
    if timesteps.shape != (num_sequences,) or bool(((timesteps < 0) | (timesteps > 1)).any()):
        raise ValueError(f"timesteps must be {num_sequences} numbers in [0, 1], got {timesteps.tolist()}.")

    answer = numbering[canvas_mask]
    probability = ((1 - eps) * timesteps.float() + eps).to(device)
    # One number for each token of the canvas and none for the rest: padding a batch does not change its noise.
    if uniform is None:
        uniform = torch.rand(answer.numel(), generator=generator)
    if uniform.shape != answer.shape:
        raise ValueError(f"uniform must be {answer.numel()} numbers, one a canvas token, got {tuple(uniform.shape)}.")
    masked = torch.zeros_like(canvas_mask)
    masked[canvas_mask] = uniform.to(device) < probability[answer]
    weights = torch.zeros(input_ids.shape, device=device)
    lengths = answer.bincount(minlength=num_sequences)
    expected = torch.full_like(probability, (1 + eps) / 2)
    weights[canvas_mask] = (1.0 / ((probability if weighting == "inverse" else expected) * lengths))[answer]
    return NoisedBatch(input_ids.masked_fill(masked, mask_token_id), masked, weights, num_sequences)


def masked_diffusion_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    noised: NoisedBatch,
    *,
    num_sequences: int | torch.Tensor | None = None,
) -> torch.Tensor:
    """Upper bound on the negative log-likelihood per token: 1/p weighted cross-entropy at masked positions only.

    `loss = 1/S sum_s 1/L_s sum_{i masked} CE(logits_i, label_i) / p_s` over the S answers of the batch. Adding up
    the losses of micro-batches that share one `num_sequences` gives the loss of the whole batch.

    Args:
        logits: `(K, V)`, predictions at the K masked positions in row-major order
            (`logits_to_keep=noised.masked`).
        labels: `(B, L)` true tokens.
        noised: The batch that the logits were computed from.
        num_sequences: Divisor in place of S, for gradient accumulation.

    Returns:
        A scalar in float32. With nothing masked it is 0 and still differentiable.
    """
    token_loss = torch.nn.functional.cross_entropy(logits.float(), labels[noised.masked], reduction="none")
    divisor = noised.num_sequences if num_sequences is None else num_sequences
    return (token_loss * noised.weights[noised.masked]).sum() / divisor


__all__ = [
    "LOSS_WEIGHTINGS",
    "NoisedBatch",
    "forward_process",
    "masked_diffusion_loss",
    "number_canvases",
    "sample_timesteps",
]

# SPDX-License-Identifier: Apache-2.0
"""The masked diffusion process: what is hidden while training, and the loss that it is hidden for.

Pure functions over tensors; LLaDA's objective (Nie et al., 2025, equations 2 and 3, and `GUIDELINES.md` of its
reference code for the floor `eps`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = [
    "LOSS_NORMALIZATIONS",
    "LOSS_WEIGHTINGS",
    "NoisedBatch",
    "TargetPlaces",
    "answer_losses",
    "check_masked_labels",
    "fixed_count_process",
    "forward_process",
    "labelled_loss",
    "masked_diffusion_loss",
    "number_canvases",
    "positions_in_answers",
    "sample_timesteps",
    "supervised_positions",
    "weighted_token_losses",
]

LOSS_WEIGHTINGS = ("inverse", "uniform", "masked_mean")
"""What the masked tokens of an answer count in the loss; see [`forward_process`]."""

_VISIBLE_LABELS = (
    "labels were given while training, but no position that has one holds [M] in input_ids, so the model would learn "
    "to copy what it sees. Train with GeoDiTTrainer, or mask the canvas with forward_process of "
    "geodit.modeling_geodit.diffusion_geodit (docs/your-own-training-code.md)."
)

LOSS_NORMALIZATIONS = ("sequence", "token")
"""Over what the loss is a mean, over answers or over their tokens; see [`forward_process`]."""


@dataclass(frozen=True)
class TargetPlaces:
    """Where the loss of a batch is taken, as K indices in row-major order: a device need not be asked how many.

    Args:
        rows: `(K,)` int64.
        columns: `(K,)` int64.
        answers: `(K,)` int64, the number of the answer that each belongs to.
        positions: `(K,)` int64, how many of them in the same answer come before each.
        most: The most that one answer has.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    answers: torch.Tensor
    positions: torch.Tensor
    most: int

    @classmethod
    def of_masks(cls, targets: torch.Tensor, answers: torch.Tensor) -> TargetPlaces:
        """Find the places; on another device than the CPU this waits for it.

        Args:
            targets: `(R, L)` bool, true where the loss is taken.
            answers: `(R, L)` int64, the number of the answer that a canvas position belongs to.
        """
        rows, columns = targets.nonzero(as_tuple=True)
        answer = answers[rows, columns]
        positions = positions_in_answers(answer)
        return cls(rows, columns, answer, positions, int(positions.max()) + 1 if positions.numel() else 0)

    @property
    def index(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows and columns, which take the places out of any `(R, L, ...)`."""
        return self.rows, self.columns

    def to(self, device: torch.device | str) -> TargetPlaces:
        """Move it to a device; see [`NoisedBatch.to`]."""
        rows, columns, answers, positions = (
            _sent(tensor, device) for tensor in (self.rows, self.columns, self.answers, self.positions)
        )
        return TargetPlaces(rows, columns, answers, positions, self.most)


@dataclass(frozen=True)
class NoisedBatch:
    """A batch after the forward process. With complementary masks it has R = 2B rows, else R = B.

    Args:
        input_ids: `(R, L)`, the tokens with `[M]` at the masked positions.
        masked: `(R, L)` bool, true where a token was replaced.
        weights: `(R, L)` float32, what a token counts in the loss if it is masked; 0 where it does not count at all.
        answers: `(R, L)` int64, the number of the answer that a canvas position belongs to and -1 elsewhere.
        timesteps: `(S,)` float32, the timestep of each of S answers: R, or more where rows hold several questions.
        items: `(S,)` float32, what each answer adds to the divisor of the loss.
        found_places: The places of `targets`, if they are known already.
    """

    input_ids: torch.Tensor
    masked: torch.Tensor
    weights: torch.Tensor
    answers: torch.Tensor
    timesteps: torch.Tensor
    items: torch.Tensor
    found_places: TargetPlaces | None = None

    @property
    def targets(self) -> torch.Tensor:
        """`(R, L)` bool, the masked positions that the loss is taken at: only they need logits."""
        return self.masked & (self.weights > 0)

    @property
    def places(self) -> TargetPlaces:
        """Where `targets` is true. After [`to`] they are known; else they are looked for each time."""
        return TargetPlaces.of_masks(self.targets, self.answers) if self.found_places is None else self.found_places

    def to(self, device: torch.device | str) -> NoisedBatch:
        """Move it to a device with its places, so that neither noise nor loss have to be read back from there.

        From the CPU to a GPU nothing waits for what the GPU still has to do.
        """
        input_ids, masked, weights, answers = (
            _sent(tensor, device) for tensor in (self.input_ids, self.masked, self.weights, self.answers)
        )
        timesteps, items = _sent(self.timesteps, device), _sent(self.items, device)
        return NoisedBatch(input_ids, masked, weights, answers, timesteps, items, self.places.to(device))


def _sent(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Move a tensor to a device. A copy from pageable memory would wait until the GPU has done all before it."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def number_canvases(canvas_mask: torch.Tensor, segment_ids: torch.Tensor | None = None) -> tuple[torch.Tensor, int]:
    """Give the answers of a batch numbers, row by row: each is a sequence of its own for the diffusion process.

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


def supervised_positions(labels: torch.Tensor, answers: torch.Tensor, eos_token_id: int) -> torch.Tensor:
    """Return where answers are trained without the padding after them: their tokens and the first EOS.

    Args:
        labels: `(B, L)` true tokens.
        answers: `(B, L)`, the number of the answer that a canvas position belongs to, from [`number_canvases`].
        eos_token_id: Ends an answer and fills the canvas after it.

    Returns:
        `(B, L)` bool, of each answer at least one position.
    """
    canvas_mask = answers >= 0
    answer, is_eos = answers[canvas_mask], labels[canvas_mask] == eos_token_id
    before = is_eos.cumsum(0) - is_eos.long()
    # What stood before each answer in the whole batch; a cumulative sum is least where the answer begins.
    start = before.new_full((len(answer),), len(answer)).scatter_reduce(0, answer, before, "amin")
    supervised = torch.zeros_like(canvas_mask)
    supervised[canvas_mask] = before == start[answer]
    return supervised


def forward_process(
    input_ids: torch.Tensor,
    canvas_mask: torch.Tensor,
    mask_token_id: int,
    *,
    segment_ids: torch.Tensor | None = None,
    loss_mask: torch.Tensor | None = None,
    timesteps: torch.Tensor | None = None,
    uniform: torch.Tensor | None = None,
    eps: float = 1e-3,
    weighting: str = "inverse",
    normalization: str = "sequence",
    complementary: bool = False,
    stratified: bool = False,
    generator: torch.Generator | None = None,
) -> NoisedBatch:
    """q(x_t | x_0): replace each token of an answer by `[M]` independently with probability p = (1-eps) t + eps.

    Args:
        input_ids: `(B, L)` true tokens.
        canvas_mask: `(B, L)` bool, true where a token may be hidden: the answers and the EOS after them. The
            prompt and the image are never masked.
        mask_token_id: The id of `[M]`.
        segment_ids: `(B, L)`, where rows hold several questions; each of S answers then has a timestep of its own.
        loss_mask: `(B, L)` bool, the part of the canvas that the loss is taken over; the rest is hidden just the
            same. All of it by default, see also [`supervised_positions`].
        timesteps: `(S,)` in [0, 1], one for each answer (S is B with one question a row); drawn by
            [`sample_timesteps`] when not given.
        uniform: `(K,)` in [0, 1), one number for each of the K canvas tokens in row-major order: a token is hidden
            where its number is below p. Drawn when not given.
        eps: Floor of p, which bounds the weight 1/p of a masked token.
        weighting: `"inverse"` weighs masked tokens by 1/p, which makes the loss a bound on the likelihood (LLaDA, the
            paper). `"uniform"` weighs all alike, by 1/E[p]: the same on average over t and much less noisy, but no
            bound. `"masked_mean"` is the plain mean over the masked tokens, as in MaskGIT and BERT.
        normalization: `"sequence"` takes the mean over the tokens of each answer, then over answers (the paper), so
            that a short answer counts as much as a long one; `"token"` the mean over the tokens of all answers.
        complementary: Show every answer twice, with a mask and with its complement, so that each token is hidden
            once (LaViDa). The rows of the second view follow those of the first; theirs is the timestep 1 - t. Here
            p = (1 - 2 eps) t + eps and the second view counts by 1/(1-p), so that both are estimates of the bound.
        stratified: How timesteps are drawn when they are not given, see [`sample_timesteps`].
        generator: A CPU generator.

    Raises:
        ValueError: for shapes that do not fit, a timestep outside [0, 1], or an unknown weighting or normalization.
    """
    for name, value, allowed in (
        ("weighting", weighting, LOSS_WEIGHTINGS),
        ("normalization", normalization, LOSS_NORMALIZATIONS),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}.")
    for name, mask in (("canvas_mask", canvas_mask), ("loss_mask", loss_mask)):
        if mask is not None and mask.shape != input_ids.shape:
            raise ValueError(
                f"{name} has shape {tuple(mask.shape)}, input_ids {tuple(input_ids.shape)}: they must agree."
            )
    device, canvas_mask = input_ids.device, canvas_mask.bool()
    answers, num_answers = number_canvases(canvas_mask, segment_ids)
    answer = answers[canvas_mask]
    if timesteps is None:
        timesteps = sample_timesteps(num_answers, generator=generator, stratified=stratified)
    if timesteps.shape != (num_answers,) or bool(((timesteps < 0) | (timesteps > 1)).any()):
        raise ValueError(f"timesteps must be {num_answers} numbers in [0, 1], got {timesteps.tolist()}.")
    if uniform is None:
        # One number for each token of the canvas and none for the rest: padding a batch does not change its noise.
        uniform = torch.rand(answer.numel(), generator=generator)
    if uniform.shape != answer.shape:
        raise ValueError(f"uniform must be {answer.numel()} numbers, one a canvas token, got {tuple(uniform.shape)}.")

    timesteps = timesteps.float().to(device)
    ceiling = 1 - eps if complementary else 1.0
    probability = (ceiling - eps) * timesteps + eps
    hidden = uniform.to(device) < probability[answer]
    counted = torch.ones_like(hidden) if loss_mask is None else loss_mask.to(device)[canvas_mask].bool()
    views = [(hidden, probability, timesteps)]
    if complementary:
        views.append((~hidden, 1 - probability, 1 - timesteps))
    noised = []
    for view, (hidden, probability, timesteps) in enumerate(views):
        masked = torch.zeros_like(canvas_mask)
        masked[canvas_mask] = hidden
        count = _count(answer, counted & hidden if weighting == "masked_mean" else counted, num_answers)
        token_weight = torch.ones_like(count)
        if weighting == "inverse":
            token_weight = 1 / probability
        elif weighting == "uniform":
            token_weight *= 2 / (ceiling + eps)  # 1/E[p]
        if normalization == "sequence":
            token_weight, count = token_weight / count.clamp(min=1), (count > 0).float()
        weights = torch.zeros(input_ids.shape, device=device)
        weights[canvas_mask] = token_weight[answer] * counted
        shifted = torch.where(canvas_mask, answers + view * num_answers, answers)
        noised.append((input_ids.masked_fill(masked, mask_token_id), masked, weights, shifted, timesteps, count))
    hidden_ids, masked, weights, numbers, timesteps, items = (torch.cat(parts) for parts in zip(*noised, strict=True))
    return NoisedBatch(hidden_ids, masked, weights, numbers, timesteps, items)


def _count(answer: torch.Tensor, counted: torch.Tensor, num_answers: int) -> torch.Tensor:
    """`(S,)` float32: how many of the positions of each answer are counted."""
    return answer[counted].bincount(minlength=num_answers).float()


def positions_in_answers(answer: torch.Tensor) -> torch.Tensor:
    """Count the tokens of the same answer before each token.

    Args:
        answer: `(K,)` int64, the number of the answer that each token belongs to.

    Returns:
        `(K,)` int64, 0 for the first token of each answer.
    """
    lengths = answer.bincount()
    order = answer.argsort(stable=True)
    starts = (lengths.cumsum(0) - lengths)[answer[order]]
    positions = torch.empty_like(answer)
    positions[order] = torch.arange(answer.numel(), device=answer.device) - starts
    return positions


def fixed_count_process(
    input_ids: torch.Tensor,
    canvas_mask: torch.Tensor,
    mask_token_id: int,
    *,
    timesteps: torch.Tensor,
    uniform: torch.Tensor,
    segment_ids: torch.Tensor | None = None,
) -> NoisedBatch:
    """Hide exactly l = floor(t L) + 1 of the L tokens of an answer, any l of them alike, for estimates of the bound.

    The mean cross-entropy over the hidden tokens has the same expectation over t as the 1/p weighted loss with eps
    going to 0, and a much smaller variance (LLaDA, equation 6, and `get_log_likelihood.py` of its reference code).

    Args:
        input_ids: `(B, L)` true tokens.
        canvas_mask: `(B, L)` bool, true on the answers and the EOS after them.
        mask_token_id: The id of `[M]`.
        timesteps: `(S,)` in [0, 1), one for each answer.
        uniform: `(K,)` in [0, 1), one number for each of the K canvas tokens in row-major order; in each answer those
            with the smallest numbers are hidden.
        segment_ids: `(B, L)`, where rows hold several questions.

    Returns:
        The batch, with weights by which [`weighted_token_losses`] of an answer add up to its estimate, in nats a
        token of its canvas.
    """
    device, canvas_mask = input_ids.device, canvas_mask.bool()
    answers, num_answers = number_canvases(canvas_mask, segment_ids)
    answer = answers[canvas_mask]
    length = answer.bincount(minlength=num_answers)
    timesteps = timesteps.to(device)
    count = ((timesteps * length).floor().long() + 1).minimum(length)
    by_number = uniform.to(device).argsort(stable=True)
    order = by_number[answer[by_number].argsort(stable=True)]
    place = torch.empty_like(answer)
    place[order] = torch.arange(answer.numel(), device=device)
    place -= (length.cumsum(0) - length)[answer]
    masked = torch.zeros_like(canvas_mask)
    masked[canvas_mask] = place < count[answer]
    weights = torch.zeros(input_ids.shape, device=device)
    weights[canvas_mask] = 1 / count[answer]
    items = torch.ones(num_answers, device=device)
    return NoisedBatch(input_ids.masked_fill(masked, mask_token_id), masked, weights, answers, timesteps, items)


def weighted_token_losses(logits: torch.Tensor, labels: torch.Tensor, noised: NoisedBatch) -> torch.Tensor:
    """Cross-entropy times weight at the positions that the loss is taken at.

    Args:
        logits: `(K, V)`, predictions at the K targets in row-major order (`logits_to_keep=noised.targets`, or
            `noised.places.index`).
        labels: `(R, L)` true tokens.
        noised: The batch that the logits were computed from.

    Returns:
        `(K,)` float32.
    """
    index = noised.places.index
    token_loss = torch.nn.functional.cross_entropy(logits.float(), labels[index], reduction="none")
    return token_loss * noised.weights[index]


def answer_losses(token_losses: torch.Tensor, noised: NoisedBatch) -> torch.Tensor:
    """Add up what [`weighted_token_losses`] returned to `(S,)`, one sum for each answer."""
    places = noised.places
    # Not index_add_, which on a GPU adds in any order: the same run is to have the same log.
    grid = torch.zeros(len(noised.items), places.most, device=token_losses.device)
    return grid.index_put((places.answers, places.positions), token_losses).sum(dim=-1)


def check_masked_labels(input_ids: torch.Tensor, labels: torch.Tensor, mask_token_id: int | None) -> None:
    """Refuse labels of which none stands where the model sees `[M]`. A batch without labels at all passes.

    On a CUDA device the check is queued and the caller does not wait for it: a failure ends the process by a
    device-side assertion, which prints the message. Compiled code asserts in the same way on every device.

    Args:
        input_ids: `(B, L)`, what the model sees.
        labels: `(B, L)` true tokens, -100 where nothing is to be learnt.
        mask_token_id: The id of `[M]`; `None` for a model without one, which cannot be checked.

    Raises:
        ValueError: for labels at visible positions alone. In compiled code it is a RuntimeError.
    """
    if mask_token_id is None or labels.is_meta:
        return
    sees_mask = ((labels != -100) & (input_ids == mask_token_id)).any() | (labels == -100).all()
    if labels.is_cuda or torch.compiler.is_compiling():
        torch._assert_async(sees_mask, _VISIBLE_LABELS)
    elif not sees_mask:
        raise ValueError(_VISIBLE_LABELS)


def labelled_loss(
    logits: torch.Tensor, labels: torch.Tensor, num_items: int | torch.Tensor | None = None
) -> torch.Tensor:
    """Plain mean of the cross-entropy over the labels that are not -100, masked or not.

    Args:
        logits: `(..., V)`.
        labels: `(...)`, -100 where nothing is to be learnt.
        num_items: Divisor in place of the number of labels: that of all micro-batches of an update, so that their
            losses add up to the mean over all of their labels.

    Returns:
        A scalar in float32. Without any label it is 0 and still differentiable.
    """
    labels = labels.to(logits.device)  # where a model is spread over several
    total = torch.nn.functional.cross_entropy(logits.flatten(0, -2).float(), labels.flatten(), reduction="sum")
    if isinstance(num_items, int):
        return total / max(num_items, 1)
    divisor = (labels != -100).sum() if num_items is None else num_items.to(total.device)
    # Trainer repeats the number for each device of DataParallel, which leaves one of shape (1, 1) here.
    return total / divisor.reshape(()).clamp(min=1)


def masked_diffusion_loss(
    token_losses: torch.Tensor, noised: NoisedBatch, *, num_items: int | torch.Tensor | None = None
) -> torch.Tensor:
    """Compute the loss of a batch; by default the upper bound on the negative log-likelihood per token.

    `loss = 1/S sum_s 1/L_s sum_{i masked} CE(logits_i, label_i) / p_s` over the S answers of the batch, or what else
    [`forward_process`] was asked for. Adding up the losses of micro-batches that share one `num_items` gives the
    loss of the whole batch.

    Args:
        token_losses: `(K,)`, what [`weighted_token_losses`] returned.
        noised: The batch that they were computed from.
        num_items: Divisor in place of the sum of `noised.items`, for gradient accumulation.

    Returns:
        A scalar in float32. With nothing masked it is 0 and still differentiable.
    """
    divisor = noised.items.sum() if num_items is None else num_items
    # It is 0 if nothing at all was masked.
    return token_losses.sum() / (divisor.clamp(min=1) if isinstance(divisor, torch.Tensor) else max(divisor, 1))

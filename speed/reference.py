# SPDX-License-Identifier: Apache-2.0
"""Masked diffusion decoding as LLaDA publishes it, for comparison.

The published `generate` (Nie et al., 2025, https://github.com/ML-GSAI/LLaDA) keeps one sequence and treats every step
alike: the network runs on all of it, the vocabulary is projected to at all positions, all logits go through a softmax
in double precision, and the most confident proposals among the masked positions are kept. This is that procedure,
greedy and in a single block, after an image that is encoded once, as LLaDA-V does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion

__all__ = ["reference_generate"]


@torch.no_grad()
def reference_generate(
    model: GeoDiTForMaskedDiffusion,
    input_ids: torch.Tensor,
    pixel_values: torch.Tensor,
    *,
    canvas_length: int,
    steps: int,
    mark: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Generate by recomputing everything in every step.

    Unlike `generate()`, and like the published code, it runs the network in steps that commit nothing, and would
    commit `[M]` or an image placeholder if the network proposed one.

    Args:
        model: A model with `attention_mode="full"`.
        input_ids: `(B, P)` prompts without padding, image placeholders included.
        pixel_values: `(B, 3, H, W)`.
        canvas_length: L.
        steps: N.
        mark: Called with 0 once the images are encoded and with s after the s-th step.

    Returns:
        `(B, L)` int64, the canvases.
    """
    mask_token_id = model.config.mask_token_id
    image_features = model.get_image_features(pixel_values).pooler_output
    if mark is not None:
        mark(0)
    canvas = input_ids.new_full((input_ids.shape[0], canvas_length), mask_token_id)
    sequence = torch.cat([input_ids, canvas], dim=1)
    share, remainder = divmod(canvas_length, steps)
    for step in range(steps):
        masked = sequence == mask_token_id
        logits = model(input_ids=sequence, image_features=image_features).logits
        proposed = logits.argmax(dim=-1)
        for row in range(len(sequence)):
            # Row by row, the same work in less memory: in double precision the logits of a row of 793 tokens and
            # LLaDA's vocabulary take 0.8 GB, and their softmax as much again.
            probabilities = logits[row].to(torch.float64).softmax(dim=-1)
            confidence = probabilities.gather(-1, proposed[row].unsqueeze(-1)).squeeze(-1)
            confidence = confidence.masked_fill(~masked[row], -torch.inf)
            chosen = confidence.topk(share + (step < remainder)).indices
            sequence[row, chosen] = proposed[row, chosen]
        if mark is not None:
            mark(step + 1)
    return sequence[:, input_ids.shape[1] :]

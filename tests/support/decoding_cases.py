# SPDX-License-Identifier: Apache-2.0
"""Prompts, patterns and policies for the model of `ending_model`, with which loops are held against each other."""

import torch

from ending_model import EOS, IMAGE
from geodit.modeling_geodit.choices_geodit import ChoicesPattern
from geodit.modeling_geodit.patterns_geodit import AutomatonPattern, BoxListPattern

PATTERNS = {
    None: lambda: None,
    "boxes": lambda: BoxListPattern(range(8), [EOS], [9, 10]),
    "automaton": lambda: AutomatonPattern([{1: 1, 2: 1, 5: 0}, {3: 0, 4: 2, 5: 1}, {}], [1, 2], [EOS]),
    "choices": lambda: ChoicesPattern([(1,), (1, 2), (3, 4, 5), (12, 2)], [EOS]),
}
POLICIES = (
    {},
    {"remasking": "random", "seed": 3},
    {"remasking": "low_margin"},
    {"remasking": "high_entropy", "entropy_bound": 1.5},
    {"confidence_threshold": 0.4},
    {"temperature": 0.8, "seed": 5},
    {"guidance_scale": 1.7},
    {"fill_after_eos": False},
    {"suppress_tokens": [3, 4]},
)


def prompts_of(rows, length, seed, with_image=True):
    """Prompts of different lengths, padded on either side, behind an image."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 20, (rows, 4 + length), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(rows):
        padding = int(torch.randint(0, length, (), generator=generator))
        if row % 2:
            mask[row, 4 + length - padding :] = 0
        elif padding:
            ids[row], mask[row] = ids[row].roll(padding), 1
            mask[row, :padding] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if with_image:
        for row in range(rows):
            start = int(mask[row].argmax())
            ids[row, start : start + 4] = IMAGE
        inputs["pixel_values"] = torch.randn(rows, 3, 8, 8, generator=generator)
    return inputs

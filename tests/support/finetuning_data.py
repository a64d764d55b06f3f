# SPDX-License-Identifier: Apache-2.0
"""Rows of a small data set to fine-tune on."""

import numpy as np

from geodit.data.schema import Question, make_row


def ship_row(number, *, boxes=1):
    """An image of 32 pixels with ships and three questions."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
    found = tuple((2.0 + 3 * index, 3.0, 12.0 + 3 * index, 20.0) for index in range(boxes))
    questions = [
        Question("detect", "ship", boxes=found, labels=("ship",) * boxes),
        Question("vqa", "Is there a ship?", answer="yes", kind="presence"),
    ]
    return make_row(pixels, str(number), questions)

# SPDX-License-Identifier: Apache-2.0
"""BLEU of any choice of captions, by pycocoevalcap's scorer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geodit.evaluation.optional import import_optional

__all__ = ["BleuCounts"]


class BleuCounts:
    """What BLEU of a set is made of, for each caption, and the score of any choice of them.

    Args:
        captions: N captions, words separated by spaces.
        references: References of each, at least one.
    """

    def __init__(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
        self._scorer_class = import_optional("pycocoevalcap.bleu.bleu_scorer").BleuScorer
        scorer = self._scorer_class(n=4)
        for caption, of_image in zip(captions, references, strict=True):
            scorer += (caption, list(of_image))
        # Length, length of the reference that is closest, and of n = 1 to 4 all n-grams and the right ones.
        self._counts = np.asarray(
            [
                (
                    counts["testlen"],
                    scorer._single_reflen(counts["reflen"], "closest", counts["testlen"]),
                    *counts["guess"],
                    *counts["correct"],
                )
                for counts in scorer.ctest
            ],
            dtype=np.int64,
        )

    def scores(self, indices: NDArray[np.intp]) -> list[float]:
        """Return BLEU-1 to BLEU-4 of some captions: the library's formula depends on the sums alone.

        Args:
            indices: Indices of captions, shape (M,), repetitions included.
        """
        length, closest, *counts = self._counts[indices].sum(axis=0).tolist()
        total = self._scorer_class(n=4)
        total.crefs = [None]
        total.ctest = [{"testlen": length, "reflen": [closest], "guess": counts[:4], "correct": counts[4:]}]
        scores, _ = total.compute_score(option="closest")
        return [float(score) for score in scores]

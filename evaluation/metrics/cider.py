# SPDX-License-Identifier: Apache-2.0
"""CIDEr of captions, as the paper defines it and as the field computes it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from geodit.evaluation.optional import import_optional

__all__ = ["cider_d_scores", "cider_original_scores"]

_LENGTHS = 4  # of n-grams
_Counts = Mapping[tuple[str, ...], int]


def cider_d_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Compute the score that pycocoevalcap, COCO's server and papers call CIDEr, of each caption.

    It is the paper's CIDEr-D without stemming: counts of n-grams are clipped at those of the reference, and a
    difference in length is punished by a Gaussian of sigma 6, times 10.

    Args:
        captions: N captions, words separated by spaces.
        references: References of each, at least one.

    Returns:
        Array of shape (N,), each from 0 to 10.
    """
    if not any(reference.split() for of_image in references for reference in of_image):
        # The library fails where there is not one word.
        return np.zeros(len(captions), dtype=np.float64)
    scorer = import_optional("pycocoevalcap.cider.cider").Cider()
    _, scores = scorer.compute_score(
        {index: list(of_image) for index, of_image in enumerate(references)},
        {index: [caption] for index, caption in enumerate(captions)},
    )
    return np.asarray(scores, dtype=np.float64)


def cider_original_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Compute CIDEr without the changes that make it CIDEr-D: no clipping, no penalty on length.

    That is `pyciderevalcap/cider` of github.com/vrama91/cider: for n-grams of 1 to 4 words the cosine of the vectors
    of counts times inverse document frequency, averaged over the lengths and the references, times 10. The paper also
    cuts words to their stems, which neither that code nor this does.

    Args:
        captions: N captions, words separated by spaces.
        references: References of each, at least one.

    Returns:
        Array of shape (N,), each from 0 to 10.

    Source: Vedantam et al., "CIDEr: Consensus-based image description evaluation", CVPR 2015, section 4.
    """
    library = import_optional("pycocoevalcap.cider.cider_scorer")
    scorer = library.CiderScorer(n=_LENGTHS)
    for caption, of_image in zip(captions, references, strict=True):
        scorer += (caption, list(of_image))
    scorer.compute_doc_freq()
    frequency: Mapping[tuple[str, ...], float] = scorer.document_frequency
    log_images = math.log(len(captions))

    def vectors(counts: _Counts) -> list[dict[tuple[str, ...], float]]:
        by_length: list[dict[tuple[str, ...], float]] = [{} for _ in range(_LENGTHS)]
        for words, count in counts.items():
            weight = log_images - math.log(max(1.0, frequency.get(words, 0.0)))
            by_length[len(words) - 1][words] = count * weight
        return by_length

    scores = np.zeros(len(captions), dtype=np.float64)
    for index, (test, of_image) in enumerate(zip(scorer.ctest, scorer.crefs, strict=True)):
        found = vectors(test)
        cosines = [
            _cosine(mine, true) for reference in of_image for mine, true in zip(found, vectors(reference), strict=True)
        ]
        scores[index] = 10.0 * sum(cosines) / len(cosines)
    return scores


def _cosine(first: Mapping[tuple[str, ...], float], second: Mapping[tuple[str, ...], float]) -> float:
    lengths = math.hypot(*first.values()) * math.hypot(*second.values())
    if not lengths:
        return 0.0
    return sum(value * second[words] for words, value in first.items() if words in second) / lengths

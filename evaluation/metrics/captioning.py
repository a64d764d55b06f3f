# SPDX-License-Identifier: Apache-2.0
"""Captions against reference captions: CIDEr and BLEU-4."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence

import numpy as np
from datasets import Features, List, Value
from numpy.typing import NDArray

from geodit.configuration.types_geodit import Item, JsonObject
from geodit.evaluation.metrics.base import AnswerMetric, evaluate, parsed_flags, summarize
from geodit.evaluation.optional import import_optional
from geodit.evaluation.text import tokenize_caption

__all__ = ["CaptioningMetric"]

_INPUTS = """
Args:
    predictions: One dict per image: `text` (str) and `parsed` (bool).
    references: One list of reference captions per image, at least one.
    groups: The image of every sample, for `bootstrap`; by default every sample has its own.
    bootstrap: Number of bootstrap resamples for 95% confidence intervals; 0 for none. CIDEr's n-gram weights
        stay those of the full set.
    bootstrap_seed: Seed of the resampling.
Returns:
    cider, bleu4, parse_rate, num_samples, and confidence_intervals when asked for.
Raises:
    ValueError: If there are no predictions or an image has no reference.
Example:
    >>> CaptioningMetric().compute(
    ...     predictions=[{"text": "Two ships.", "parsed": True}, {"text": "a field", "parsed": True}],
    ...     references=[["two ships"], ["a green field", "a field"]],
    ... )["cider"] > 0
    True
"""

_CITATION = """
@inproceedings{vedantam2015cider, title={CIDEr: Consensus-based image description evaluation},
  author={Vedantam, Ramakrishna and Zitnick, C. Lawrence and Parikh, Devi}, booktitle={CVPR}, year={2015}}
@inproceedings{papineni2002bleu, title={BLEU: a method for automatic evaluation of machine translation},
  author={Papineni, Kishore and Roukos, Salim and Ward, Todd and Zhu, Wei-Jing}, booktitle={ACL}, year={2002}}
"""


class CaptioningMetric(AnswerMetric):
    """CIDEr and BLEU-4 of captions.

    Both are computed by pycocoevalcap's scorers, on lower-cased captions without punctuation. CIDEr has the
    scale of that library, 0 to 10 (papers print 100 times the value); its n-gram weights come from the
    references of the set that is scored, so it depends on the set, and is 0 for a single image. An answer
    that did not parse is scored as an empty caption.
    """

    def _info(self) -> object:
        return evaluate.MetricInfo(
            description=inspect.cleandoc(self.__doc__ or ""),
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=Features(
                {
                    "predictions": {"text": Value("string"), "parsed": Value("bool")},
                    "references": List(Value("string")),
                }
            ),
        )

    def _compute(
        self,
        predictions: Sequence[Item],
        references: Sequence[Sequence[str]],
        groups: Sequence[Hashable] | None = None,
        bootstrap: int = 0,
        bootstrap_seed: int = 0,
    ) -> JsonObject:
        parsed = parsed_flags(predictions)
        for index, captions in enumerate(references):
            if not captions:
                raise ValueError(f"sample {index} has no reference caption; give at least one")
        hypotheses = [tokenize_caption(p["text"]) if p["parsed"] else "" for p in predictions]
        truths = [[tokenize_caption(caption) for caption in captions] for captions in references]

        scorer = import_optional("pycocoevalcap.cider.cider").Cider()
        _, cider = scorer.compute_score(
            dict(enumerate(truths)), {index: [hypothesis] for index, hypothesis in enumerate(hypotheses)}
        )
        bleu_scorer = import_optional("pycocoevalcap.bleu.bleu_scorer").BleuScorer
        bleu = bleu_scorer(n=4)
        for hypothesis, captions in zip(hypotheses, truths, strict=True):
            bleu += (hypothesis, captions)

        def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
            subset = bleu_scorer(n=4)
            subset.crefs = [bleu.crefs[index] for index in indices]
            subset.ctest = [bleu.ctest[index] for index in indices]
            scores, _ = subset.compute_score(option="closest")
            return {"cider": float(cider[indices].mean()), "bleu4": float(scores[3])}

        return summarize(figures, parsed, groups=groups, bootstrap=bootstrap, bootstrap_seed=bootstrap_seed)

# SPDX-License-Identifier: Apache-2.0
"""Short answers: visual questions and scene classes."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from datasets import Features, Value
from numpy.typing import NDArray

from geodit.configuration.types_geodit import Item, JsonObject
from geodit.evaluation.metrics.base import AnswerMetric, evaluate, parsed_flags, summarize
from geodit.evaluation.text import normalize_answer

__all__ = ["ExactMatchMetric"]

_INPUTS = """
Args:
    predictions: One dict per question: `text` (str) and `parsed` (bool).
    references: One dict per question: `answer` (str) and `kind` (str), e.g. "count" or "presence".
    groups: The image of every sample, for `bootstrap`; by default every sample has its own.
    bootstrap: Number of bootstrap resamples for 95% confidence intervals; 0 for none.
    bootstrap_seed: Seed of the resampling.
Returns:
    accuracy, majority_accuracy, parse_rate, num_samples, by_kind (the same for every kind), and
    confidence_intervals when asked for.
Raises:
    ValueError: If there are no predictions.
Example:
    >>> ExactMatchMetric().compute(
    ...     predictions=[{"text": "Yes.", "parsed": True}], references=[{"answer": "yes", "kind": "presence"}]
    ... )["accuracy"]
    1.0
"""

_CITATION = """
@article{lobry2020rsvqa, title={RSVQA: Visual question answering for remote sensing data},
  author={Lobry, Sylvain and Marcos, Diego and Murray, Jesse and Tuia, Devis}, journal={IEEE TGRS},
  year={2020}}
"""


class ExactMatchMetric(AnswerMetric):
    """The share of answers that equal the true one, over all questions and for every kind of question.

    Case, punctuation and spacing do not matter. An answer that did not parse is wrong. `majority_accuracy` is
    what always giving the commonest answer would reach: over all questions, the commonest of each kind.
    """

    def _info(self) -> object:
        return evaluate.MetricInfo(
            description=inspect.cleandoc(self.__doc__ or ""),
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=Features(
                {
                    "predictions": {"text": Value("string"), "parsed": Value("bool")},
                    "references": {"answer": Value("string"), "kind": Value("string")},
                }
            ),
        )

    def _compute(
        self,
        predictions: Sequence[Item],
        references: Sequence[Mapping[str, str]],
        groups: Sequence[Hashable] | None = None,
        bootstrap: int = 0,
        bootstrap_seed: int = 0,
    ) -> JsonObject:
        parsed = parsed_flags(predictions)
        truths = [normalize_answer(reference["answer"]) for reference in references]
        right = parsed & np.asarray(
            [
                normalize_answer(prediction["text"]) == truth
                for prediction, truth in zip(predictions, truths, strict=True)
            ]
        )
        kinds = np.asarray([reference["kind"] for reference in references])

        def summary(members: NDArray[np.intp]) -> JsonObject:
            def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
                return {"accuracy": float(right[members][indices].mean())}

            return summarize(
                figures,
                parsed[members],
                groups=None if groups is None else [groups[index] for index in members],
                bootstrap=bootstrap,
                bootstrap_seed=bootstrap_seed,
            )

        if groups is not None and len(groups) != len(parsed):
            raise ValueError(f"there are {len(parsed)} samples but {len(groups)} groups; give one per sample")
        by_kind: dict[str, JsonObject] = {}
        majority_right = 0
        for kind in sorted(set(kinds.tolist())):
            members = np.flatnonzero(kinds == kind)
            commonest = Counter(truths[index] for index in members).most_common(1)[0][1]
            majority_right += commonest
            by_kind[kind] = {**summary(members), "majority_accuracy": commonest / len(members)}
        return {
            **summary(np.arange(len(parsed), dtype=np.intp)),
            "majority_accuracy": majority_right / len(parsed),
            "by_kind": by_kind,
        }

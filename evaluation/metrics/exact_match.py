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
from geodit.evaluation.answer_rules import AnswerRule, get_answer_rule
from geodit.evaluation.metrics.base import AnswerMetric, Part, Scored, evaluate, parsed_flags, summarize
from geodit.evaluation.text import normalize_answer

__all__ = ["ExactMatchMetric", "judge_texts"]

_INPUTS = """
Args:
    predictions: One dict per question: `text` (str) and `parsed` (bool).
    references: One dict per question: `answer` (str) and `kind` (str), e.g. "count" or "presence".
    rules: Names of further rules of when answers are the same, of
        [`~geodit.evaluation.answer_rules.ANSWER_RULES`], e.g. `rsvqa_lr`.
    groups: The image of every sample, for `bootstrap`; by default every sample has its own.
    bootstrap: Number of bootstrap resamples for 95% confidence intervals; 0 for none.
    bootstrap_seed: Seed of the resampling.
Returns:
    accuracy and average_accuracy, accuracy_lenient and average_accuracy_lenient, the same of every rule asked for,
    majority_accuracy, parse_rate, num_samples, by_kind (the same for every kind, without averages), and
    confidence_intervals when asked for.
Raises:
    ValueError: If there are no predictions or a rule is unknown.
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

    `accuracy` is over all questions (the overall accuracy of RSVQA), `average_accuracy` is the mean over the kinds of
    the accuracy of each (its average accuracy). Case, punctuation and spacing do not matter. An answer that did not
    parse is wrong. `accuracy_lenient` takes no notice of number words, thousands separators, articles, plurals,
    hyphens and underscores, and of what follows a yes or no; further rules are under names of their own.
    `majority_accuracy` is what always giving the commonest answer would reach: over all questions, the commonest of
    each kind.
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
        rules: Sequence[str] = (),
        groups: Sequence[Hashable] | None = None,
        bootstrap: int = 0,
        bootstrap_seed: int = 0,
    ) -> JsonObject:
        scored = judge_texts(predictions, references, rules=rules)
        return summarize(scored, groups=groups, bootstrap=bootstrap, bootstrap_seed=bootstrap_seed)


def judge_texts(
    predictions: Sequence[Item], references: Sequence[Mapping[str, str]], *, rules: Sequence[str] = ()
) -> Scored:
    """Judge short answers one by one; see [`ExactMatchMetric`] for arguments and errors."""
    parsed = parsed_flags(predictions)
    names = {_named("accuracy", rule): get_answer_rule(rule) for rule in dict.fromkeys(("strict", "lenient", *rules))}
    right = {name: parsed & _equal(predictions, references, rule) for name, rule in names.items()}
    kinds, kind_of = np.unique([reference["kind"] for reference in references], return_inverse=True)
    everything = np.ones(len(parsed), dtype=np.bool_)

    def of_any(indices: NDArray[np.intp]) -> dict[str, float | None]:
        return {name: float(outcome[indices].mean()) for name, outcome in right.items()}

    def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
        asked = np.bincount(kind_of[indices], minlength=len(kinds))
        found = of_any(indices)
        for name, outcome in right.items():
            of_kind = np.bincount(kind_of[indices], weights=outcome[indices], minlength=len(kinds))
            found[f"average_{name}"] = float((of_kind[asked > 0] / asked[asked > 0]).mean())
        return found

    shares = dict.fromkeys(right, everything)
    answers = [normalize_answer(reference["answer"]) for reference in references]
    parts, commonest_right = {}, 0
    for number, kind in enumerate(kinds.tolist()):
        members = np.flatnonzero(kind_of == number)
        commonest = Counter(answers[index] for index in members).most_common(1)[0][1]
        commonest_right += commonest
        parts[kind] = Part(members, of_any, shares, {"majority_accuracy": commonest / len(members)})
    return Scored(
        figures,
        parsed,
        shares={**shares, **{f"average_{name}": everything for name in right}},
        outcomes=right,
        parts={"by_kind": parts},
        constants={"majority_accuracy": commonest_right / len(parsed)},
    )


def _named(figure: str, rule: str) -> str:
    return figure if rule == "strict" else f"{figure}_{rule}"


def _equal(
    predictions: Sequence[Item], references: Sequence[Mapping[str, str]], rule: AnswerRule
) -> NDArray[np.bool_]:
    pairs = zip(predictions, references, strict=True)
    return np.asarray(
        [rule(prediction["text"]) == rule(reference["answer"]) for prediction, reference in pairs], dtype=np.bool_
    )

# SPDX-License-Identifier: Apache-2.0
"""Captions against reference captions: BLEU, ROUGE-L, METEOR and CIDEr."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from datasets import Features, List, Value
from numpy.typing import NDArray

from geodit.configuration.types_geodit import Item, JsonObject
from geodit.evaluation.answer_rules import canonical_words
from geodit.evaluation.caption_tokens import tokenize_captions
from geodit.evaluation.metrics.base import AnswerMetric, Scored, evaluate, parsed_flags, summarize
from geodit.evaluation.metrics.bleu import BleuCounts
from geodit.evaluation.metrics.cider import cider_d_scores, cider_original_scores
from geodit.evaluation.metrics.meteor import MeteorProgram
from geodit.evaluation.optional import import_optional

__all__ = ["CaptioningMetric", "judge_captions"]

_INPUTS = """
Args:
    predictions: One dict per image: `text` (str) and `parsed` (bool).
    references: One list of reference captions per image, at least one.
    tokenizer: `plain`, or `ptb` for Stanford's tokenizer, which pycocoevalcap uses and which needs Java.
    meteor: Compute METEOR, too, which needs Java and half a minute.
    groups: The image of every sample, for `bootstrap`; by default every sample has its own.
    bootstrap: Number of bootstrap resamples for 95% confidence intervals; 0 for none. CIDEr's n-gram weights
        stay those of the full set.
    bootstrap_seed: Seed of the resampling.
Returns:
    cider and cider_original (0 to 10), bleu1, bleu2, bleu3, bleu4, rouge_l, exact_match,
    exact_match_apart_from_counts, meteor if asked for (0 to 1), tokenizer, parse_rate, num_samples, and
    confidence_intervals when asked for.
Raises:
    ValueError: If there are no predictions, an image has no reference or the tokenizer is unknown.
    FileNotFoundError: If Java is needed and there is none.
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
@inproceedings{lin2004rouge, title={ROUGE: a package for automatic evaluation of summaries},
  author={Lin, Chin-Yew}, booktitle={Text Summarization Branches Out}, year={2004}}
@inproceedings{denkowski2014meteor, title={Meteor universal: language specific translation evaluation for any target
  language}, author={Denkowski, Michael and Lavie, Alon}, booktitle={WMT}, year={2014}}
"""


class CaptioningMetric(AnswerMetric):
    """CIDEr, BLEU-1 to BLEU-4, ROUGE-L and, with Java, METEOR of captions.

    All are computed by pycocoevalcap's scorers, on lower-cased captions without punctuation. `cider` is what that
    library, COCO's server and papers call CIDEr; its arithmetic is that of CIDEr-D. It has the scale of the library,
    0 to 10: papers print 100 times the value. `cider_original` is CIDEr without clipping and without a penalty on
    length. The n-gram weights of both come from the references of the set that is scored, so they depend on the set,
    and are 0 for a single image. All other figures are from 0 to 1.

    `exact_match` is the share of captions that equal one of their references, `exact_match_apart_from_counts` the same
    without numbers, in digits or words, and articles, and with singular for plural: the share of captions that are
    right up to how many there are. An answer that did not parse is scored as an empty caption.
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
        tokenizer: str = "plain",
        meteor: bool = False,
        groups: Sequence[Hashable] | None = None,
        bootstrap: int = 0,
        bootstrap_seed: int = 0,
    ) -> JsonObject:
        with judge_captions(predictions, references, tokenizer=tokenizer, meteor=meteor) as scored:
            return summarize(scored, groups=groups, bootstrap=bootstrap, bootstrap_seed=bootstrap_seed)


@contextmanager
def judge_captions(
    predictions: Sequence[Item],
    references: Sequence[Sequence[str]],
    *,
    tokenizer: str = "plain",
    meteor: bool = False,
) -> Iterator[Scored]:
    """Judge captions one by one; see [`CaptioningMetric`] for arguments and errors.

    Yields:
        The judged captions, whose figures can be computed while METEOR's program runs.
    """
    parsed = parsed_flags(predictions)
    for index, captions in enumerate(references):
        if not captions:
            raise ValueError(f"sample {index} has no reference caption; give at least one")
    given = [p["text"] if p["parsed"] else "" for p in predictions]
    words = tokenize_captions([*given, *(caption for captions in references for caption in captions)], tokenizer)
    hypotheses, rest = words[: len(given)], iter(words[len(given) :])
    truths = [[next(rest) for _ in captions] for captions in references]

    rouge = import_optional("pycocoevalcap.rouge.rouge").Rouge()
    means: dict[str, NDArray[np.float64]] = {
        "cider": cider_d_scores(hypotheses, truths),
        "cider_original": cider_original_scores(hypotheses, truths),
        "rouge_l": np.asarray([rouge.calc_score([mine], true) for mine, true in zip(hypotheses, truths, strict=True)]),
    }
    right = {
        "exact_match": _equal_one(hypotheses, truths),
        "exact_match_apart_from_counts": _equal_one(
            [_apart_from_counts(caption) for caption in hypotheses],
            [[_apart_from_counts(caption) for caption in captions] for captions in truths],
        ),
    }
    bleu = BleuCounts(hypotheses, truths)

    def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
        return {
            **{name: float(values[indices].mean()) for name, values in means.items()},
            **{f"bleu{n}": score for n, score in enumerate(bleu.scores(indices), start=1)},
            **{name: float(values[indices].mean()) for name, values in right.items()},
        }

    everything = np.ones(len(parsed), dtype=np.bool_)
    scored = Scored(
        figures, parsed, shares=dict.fromkeys(right, everything), outcomes=right, constants={"tokenizer": tokenizer}
    )
    if not meteor:
        yield scored
        return
    with MeteorProgram() as program:
        statistics = program.statistics(hypotheses, truths)

        def with_meteor(indices: NDArray[np.intp]) -> dict[str, float | None]:
            return {**figures(indices), "meteor": program.score(statistics[indices])}

        yield replace(scored, figures=with_meteor)


def _equal_one(captions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
    pairs = zip(captions, references, strict=True)
    return np.asarray([bool(caption) and caption in of_image for caption, of_image in pairs], dtype=np.bool_)


def _apart_from_counts(caption: str) -> str:
    return " ".join(word for word in canonical_words(caption) if not word.isdecimal())

# SPDX-License-Identifier: Apache-2.0
"""How VRSBench scores: whole hundredths of the image, pixels that count to their far edge, a judge for open answers.

Source: Li, Ding and Elhoseiny, "VRSBench: A versatile vision-language benchmark dataset for remote sensing image
understanding", NeurIPS 2024, and the notebooks that `VRSBENCH.sources` names.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geodit.data.schema import Box
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.bootstrap import Figures
from geodit.evaluation.metrics.bleu import BleuCounts
from geodit.evaluation.metrics.cider import cider_d_scores
from geodit.evaluation.optional import import_optional
from geodit.evaluation.protocols.answer_boxes import first_box, true_box
from geodit.evaluation.protocols.base import EvaluationProtocol, Quirk, Source
from geodit.evaluation.protocols.caption_scores import reference_captions
from geodit.evaluation.text import tokenize_caption

__all__ = ["VRSBENCH", "inclusive_areas", "whole_hundredths"]

# Answers that no judge is asked about: right if they are in the answer that was given, and otherwise wrong.
_CLOSED = frozenset({"yes", "no", *map(str, range(100))})
_SAME_TYPE = {"image": "scene type", "rural or urban": "scene type"}


def whole_hundredths(box: Box, image_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a box in whole hundredths of the image, rounded down, inside the image.

    Args:
        box: (x1, y1, x2, y2) in pixels.
        image_size: (height, width) in pixels.
    """
    height, width = image_size
    x1, y1, x2, y2 = (
        int(min(max(value / side, 0.0), 1.0) * 100)
        for value, side in zip(box, (width, height, width, height), strict=True)
    )
    return x1, y1, x2, y2


def inclusive_areas(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Return intersection and union of two boxes whose last coordinates belong to them: each side is one longer."""
    (x1, y1, x2, y2), (x3, y3, x4, y4) = first, second
    across = max(0, min(x2, x4) - max(x1, x3) + 1)
    down = max(0, min(y2, y4) - max(y1, y3) + 1)
    shared = across * down
    return shared, (x2 - x1 + 1) * (y2 - y1 + 1) + (x4 - x3 + 1) * (y4 - y3 + 1) - shared


def _grounding(answers: Sequence[AnswerRecord]) -> Figures:
    areas = np.zeros((len(answers), 2))
    for row, answer in zip(areas, answers, strict=True):
        truth, found = true_box(answer), first_box(answer)
        if found is not None:
            size = answer.image_size
            row[:] = inclusive_areas(whole_hundredths(truth, size), whole_hundredths(found, size))
    # An answer without a box is wrong, but takes no part in the sums of areas.
    answered = areas[:, 1] > 0
    iou = np.divide(areas[:, 0], areas[:, 1], out=np.zeros(len(answers)), where=answered)

    def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
        drawn, (shared, united) = iou[indices], areas[indices].sum(axis=0)
        return {
            "accuracy_50": float((drawn >= 0.5).mean()),
            "accuracy_70": float((drawn >= 0.7).mean()),
            "mean_iou": float(drawn.mean()),
            "cumulative_iou": float(shared / united) if united else None,
        }

    return figures


def _captions(answers: Sequence[AnswerRecord]) -> Figures:
    captions = [tokenize_caption(answer.text) for answer in answers]
    references = [[tokenize_caption(caption) for caption in reference_captions(answer)] for answer in answers]
    cider = 100 * cider_d_scores(captions, references)
    rouge_scorer = import_optional("pycocoevalcap.rouge.rouge").Rouge()
    rouge = np.asarray(
        [rouge_scorer.calc_score([caption], of_image) for caption, of_image in zip(captions, references, strict=True)]
    )
    bleu = BleuCounts(captions, references)

    def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
        return {
            **{f"bleu{order}": score for order, score in enumerate(bleu.scores(indices), start=1)},
            "rouge_l": float(rouge[indices].mean()),
            "cider_x100": float(cider[indices].mean()),
        }

    return figures


def _questions(answers: Sequence[AnswerRecord]) -> Figures:
    right, judged, types = [], [], []
    for answer in answers:
        truth, given = answer.question.answer.lower(), answer.text.lower()
        right.append(truth in given)
        judged.append(not right[-1] and truth not in _CLOSED)
        kind = answer.question.kind.lower()
        types.append(_SAME_TYPE.get(kind, kind))
    right_array, judged_array, type_array = np.asarray(right), np.asarray(judged), np.asarray(types)

    def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
        drawn, drawn_types = right_array[indices], type_array[indices]
        of_types = [float(drawn[drawn_types == kind].mean()) for kind in np.unique(drawn_types)]
        return {
            "accuracy": float(drawn.mean()),
            "average_accuracy": sum(of_types) / len(of_types),
            "judged_share": float(judged_array[indices].mean()),
            "accuracy_if_judged_right": float((drawn | judged_array[indices]).mean()),
        }

    return figures


VRSBENCH = EvaluationProtocol(
    name="vrsbench",
    description="VRSBench's notebooks: boxes in hundredths with inclusive ends, answers by containment or a judge",
    sources=(
        Source(
            "lx709/VRSBench",
            "28edb365091253ed0bf731b414389f438ca6f339",
            ("eval_fianl/compute_metrics.ipynb", "eval_fianl/eval_utils.py", "eval_fianl/eval_vqa_gpt.ipynb"),
        ),
        Source("lx709/VRSBench", "9245e487f0c3ae2e20713c3fcf1c20c49faee0e7", ("prepare_eval_all.ipynb",)),
    ),
    quirks=(
        Quirk(
            "whole_hundredths",
            ("ground",),
            "Boxes are whole hundredths of the image, rounded down and cut to the image: near ones become the same.",
        ),
        Quirk(
            "inclusive_ends",
            ("ground",),
            "The last hundredth belongs to the box: each side is one longer. Boxes that only touch overlap, and a box "
            "of one hundredth that is one off still has an IoU of 1/3.",
        ),
        Quirk(
            "contained_answer",
            ("vqa",),
            'An answer that contains the true one is right: "11" where it is "1", "unknown" where it is "no".',
        ),
        Quirk(
            "judge",
            ("vqa",),
            "A language model decides where the true answer is not contained and is neither yes, no nor a number "
            "below 100. It is not asked here: `judged_share` says how much it would decide, so its accuracy lies "
            "between `accuracy` and `accuracy_if_judged_right`.",
        ),
    ),
    scorers={"caption": _captions, "ground": _grounding, "vqa": _questions},
    headlines={"caption": "cider_x100", "ground": "accuracy_50", "vqa": "accuracy"},
    shares={
        "ground": ("accuracy_50", "accuracy_70"),
        "vqa": ("accuracy", "average_accuracy", "judged_share", "accuracy_if_judged_right"),
    },
    not_scored={
        "detect": "VRSBench's code has no detection",
        "classify": "VRSBench's code has no scene classification",
    },
    left_out={
        "caption.meteor": "pycocoevalcap's METEOR runs in Java",
        "caption.tokenizer": "the script for captions is not in its repository; its figures are those of COCO's "
        "caption evaluation, whose PTB tokenizer runs in Java: the plain tokenizer of this package stands in for it",
        "ground.unique": "records do not say whether a phrase is the only one of its class",
    },
)

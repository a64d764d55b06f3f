# SPDX-License-Identifier: Apache-2.0
"""How RSCoVLM scores: mAP_nc, the mean average precision of boxes without confidence, and containment of answers.

Source: Li et al., "Co-training vision language models for remote sensing multi-task learning", 2025, and the files
that `RSCOVLM.sources` names. mAP_nc comes from LMMRotate: Li et al., "A simple aerial detection baseline of multimodal
language models", 2025.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geodit.data.schema import Box
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.bootstrap import Figures
from geodit.evaluation.metrics.cider import cider_d_scores
from geodit.evaluation.metrics.polygon_iou import iou_of_polygons
from geodit.evaluation.metrics.ranked_boxes import VOC2007_RECALLS, mean_precision
from geodit.evaluation.protocols.answer_boxes import first_box, outlines, true_box, true_outlines
from geodit.evaluation.protocols.base import EvaluationProtocol, Quirk, Source, mean_figures
from geodit.evaluation.protocols.caption_scores import reference_captions

__all__ = ["RSCOVLM", "shrunken_iou", "voc_2007_precision"]


def shrunken_iou(first: Box, second: Box) -> float:
    """Return the IoU of two boxes, 0 if they share one pixel or less in a direction.

    The intersection is measured between pixels that both boxes hold, of which there have to be two.

    Args:
        first: (x1, y1, x2, y2) in pixels.
        second: Likewise.
    """
    across = min(first[2], second[2]) - max(first[0], second[0])
    down = min(first[3], second[3]) - max(first[1], second[1])
    shared = across * down if across > 1 and down > 1 else 0.0
    union = _area(first) + _area(second) - shared
    return shared / union if union else 0.0


def voc_2007_precision(right: Sequence[bool] | NDArray[np.bool_], num_true: int) -> float:
    """Return the 11-point average precision of boxes in a given order.

    Args:
        right: Whether each box is right.
        num_true: Number of true boxes, at least 1.
    """
    return float(mean_precision(np.atleast_2d(right), num_true, VOC2007_RECALLS)[0])


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _grounding(answers: Sequence[AnswerRecord]) -> Figures:
    found = [first_box(answer) for answer in answers]
    return mean_figures(
        {
            "accuracy_above_50": [
                box is not None and shrunken_iou(box, true_box(answer)) > 0.5
                for box, answer in zip(found, answers, strict=True)
            ]
        }
    )


def _detection(answers: Sequence[AnswerRecord]) -> Figures:
    judged = [_judge(answer) for answer in answers]
    num_true: list[dict[str, int]] = [{} for _ in answers]
    for counts, answer in zip(num_true, answers, strict=True):
        for label in answer.question.labels:
            counts[label.lower()] = counts.get(label.lower(), 0) + 1

    def figures(indices: NDArray[np.intp]) -> dict[str, float | None]:
        totals: dict[str, int] = {}
        right: dict[str, list[bool]] = {}
        for index in indices:
            for label, number in num_true[index].items():
                totals[label] = totals.get(label, 0) + number
            for label, is_right in judged[index]:
                right.setdefault(label, []).append(is_right)
        precisions = [voc_2007_precision(right.get(label, []), number) for label, number in totals.items()]
        return {"map_nc_50": sum(precisions) / len(precisions) if precisions else None}

    return figures


def _judge(answer: AnswerRecord) -> list[tuple[str, bool]]:
    """Tell for each box of an answer its class, and whether it is the first on the true box that it overlaps most."""
    truths = list(zip(true_outlines(answer), map(str.lower, answer.question.labels), strict=True))
    taken: set[int] = set()
    judged = []
    for box, label in zip(outlines(answer), map(str.lower, answer.labels), strict=True):
        overlaps = [iou_of_polygons(box, truth) if label == of_truth else -1.0 for truth, of_truth in truths]
        best = int(np.argmax(overlaps)) if overlaps else -1
        judged.append((label, best >= 0 and overlaps[best] >= 0.5 and best not in taken))
        if judged[-1][1]:
            taken.add(best)
    return judged


def _captions(answers: Sequence[AnswerRecord]) -> Figures:
    references = [[caption.lower() for caption in reference_captions(answer)] for answer in answers]
    return mean_figures({"cider_x100": 100 * cider_d_scores([answer.text.lower() for answer in answers], references)})


def _texts(answers: Sequence[AnswerRecord]) -> Figures:
    pairs = [(_strip(answer.text), _strip(answer.question.answer)) for answer in answers]
    contained = [truth in given for given, truth in pairs]
    return mean_figures(
        {
            "accuracy": contained,
            "accuracy_either_way": [
                is_right or given in truth for is_right, (given, truth) in zip(contained, pairs, strict=True)
            ],
        }
    )


def _strip(text: str) -> str:
    return text.lower().strip().strip(".")


RSCOVLM = EvaluationProtocol(
    name="rscovlm",
    description="RSCoVLM's evaluation: mAP_nc (all scores 1), CIDEr of untokenized captions, containment of answers",
    sources=(
        Source(
            "VisionXLab/RSCoVLM",
            "bfc2ff7ffa4dc3c8adb831351af59b7645bd7e16",
            (
                "rscovlm/eval/metric/__init__.py",
                "rscovlm/eval/metric/metric.py",
                "rscovlm/eval/metric/dense_det.py",
                "rscovlm/eval/metric/vhm_bench.py",
            ),
        ),
        Source(
            "open-mmlab/mmrotate",
            "2a0203895ec8d27b51dc9697d09c9f6ad40d29b8",
            ("mmrotate/evaluation/functional/mean_ap.py",),
        ),
    ),
    quirks=(
        Quirk(
            "all_scores_one",
            ("detect",),
            "Every box has the score 1. The boxes of a class stay in the order of images and of writing, and AP "
            "depends on that order.",
        ),
        Quirk(
            "eleven_points",
            ("detect",),
            "AP is that of Pascal VOC 2007, at 11 points of recall, not COCO's at 101.",
        ),
        Quirk(
            "best_box_or_none",
            ("detect",),
            "A box whose best true box is taken is wrong, even if it also overlaps another one enough.",
        ),
        Quirk(
            "above_half",
            ("ground",),
            "The IoU has to be above 0.5; exactly half is wrong.",
        ),
        Quirk(
            "two_pixels_at_least",
            ("ground",),
            "Boxes that share one pixel or less in a direction do not overlap: a box of one pixel can never be right.",
        ),
        Quirk(
            "punctuation_in_words",
            ("caption",),
            'CIDEr sees captions in lower case, split at spaces: "water." and "water" are two words.',
        ),
        Quirk(
            "contained_answer",
            ("vqa", "classify"),
            'An answer that contains the true one is right: "11" where it is "1".',
        ),
        Quirk(
            "either_contains",
            ("vqa", "classify"),
            "For the data sets of VHM (`accuracy_either_way`) it is enough that one of the two contains the "
            "other, so that an empty answer is right.",
        ),
    ),
    scorers={"caption": _captions, "ground": _grounding, "detect": _detection, "vqa": _texts, "classify": _texts},
    headlines={
        "caption": "cider_x100",
        "ground": "accuracy_above_50",
        "detect": "map_nc_50",
        "vqa": "accuracy",
        "classify": "accuracy",
    },
    shares={
        "ground": ("accuracy_above_50",),
        "vqa": ("accuracy", "accuracy_either_way"),
        "classify": ("accuracy", "accuracy_either_way"),
    },
    left_out={
        "detect.fuzzy_classes": "a class name that the set does not have is replaced by the most similar one, by "
        "rapidfuzz; here such a box is of no class of the set",
        "detect.referring": "the share of GeoChat's referring questions whose boxes are all right, by generalized IoU",
    },
)

# SPDX-License-Identifier: Apache-2.0
"""Answers made by hand."""

from geodit.data.schema import Question
from geodit.evaluation.answers import AnswerRecord

SIZE = (800, 800)


def record(question, text="", boxes=(), labels=None, **fields):
    """An answer to a question about an image of 800 pixels, with the boxes of the class "ship" if none is given."""
    boxes = tuple(tuple(map(float, box)) for box in boxes)
    labels = ("ship",) * len(boxes) if labels is None else tuple(labels)
    fields = {"image_id": "image", "image_size": SIZE, "parsed": True, "num_steps": 1} | fields
    return AnswerRecord(question=question, text=text, boxes=boxes, labels=labels, **fields)


def grounded(truth, found, **fields):
    """The answer of one box, or of none, to a phrase."""
    question = Question("ground", query="the ship", boxes=(tuple(map(float, truth)),), labels=("ship",))
    return record(question, boxes=() if found is None else (found,), **fields)


def detected(truths, found, labels=None, true_labels=None, **fields):
    """The boxes that were found in one image."""
    truths = tuple(tuple(map(float, box)) for box in truths)
    true_labels = ("ship",) * len(truths) if true_labels is None else tuple(true_labels)
    return record(
        Question("detect", query="ship", boxes=truths, labels=true_labels), boxes=found, labels=labels, **fields
    )


def replied(truth, text, task="vqa", kind="", **fields):
    """The answer of a few words to a question."""
    return record(Question(task, query="?" if task == "vqa" else "", answer=truth, kind=kind), text=text, **fields)


def captioned(references, text, **fields):
    """A caption of an image."""
    return record(Question("caption", answer=references[0], references=tuple(references)), text=text, **fields)

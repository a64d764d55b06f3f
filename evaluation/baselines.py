# SPDX-License-Identifier: Apache-2.0
"""What can be reached without understanding an image, and with a part of the truth: answers to compare a model's with.

Each function answers the questions of a test set that it has a way to answer, as a model would, so that
[`~geodit.evaluation.scoring.score_answers`] scores them alike. They need no model and draw nothing at random, but for
the one that says so. [`score_baselines`] counts the other questions of a task as not answered.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import datasets
import numpy as np
from numpy.typing import NDArray

from geodit.configuration.types_geodit import JsonObject
from geodit.data.schema import Box, Question, check_columns, decode_stored_image, row_questions
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.scoring import ScoringRules, pool_runs, score_answers
from geodit.evaluation.text import tokenize_caption

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "BASELINES",
    "Baseline",
    "canonical_captions",
    "caption_overlap",
    "color_histogram",
    "commonest_answers",
    "nearest_image_answers",
    "right_class_boxes",
    "score_baselines",
    "typical_boxes",
]

_TEXT_TASKS = frozenset({"caption", "vqa", "classify"})
_LEVELS = 3  # bits of each color channel in a histogram


def commonest_answers(
    train: datasets.Dataset, test: datasets.Dataset, *, by_question: bool = False
) -> list[AnswerRecord]:
    """Give the commonest training answer to each kind of question, whatever the image.

    For captions that is the commonest of all reference captions.

    Args:
        train: Rows as [`geodit.data.schema`] describes them, which have the answers.
        test: Rows with the questions.
        by_question: Take the commonest answer to the very same question where training has it: it shows what the
            wording of questions gives away.

    Returns:
        Answers to the questions of captions, visual questions and scene classes whose kind training has, in the order
        of the test set.
    """
    counts: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for _, questions in _questions(train):
        for question in questions:
            for answer in _answers(question):
                counts[question.task, question.kind][answer] += 1
                if by_question:
                    counts[question.task, question.kind, question.query][answer] += 1
    commonest = {key: counter.most_common(1)[0][0] for key, counter in counts.items()}

    def answer_of(question: Question) -> str | None:
        kind = commonest.get((question.task, question.kind))
        return commonest.get((question.task, question.kind, question.query), kind) if by_question else kind

    return [
        _record(row, question, text=text)
        for row in _rows(test)
        for question in row.questions
        if question.task in _TEXT_TASKS and (text := answer_of(question)) is not None
    ]


def nearest_image_answers(train: datasets.Dataset, test: datasets.Dataset) -> list[AnswerRecord]:
    """Give the answers of the training image whose colors are most like those of the image.

    Colors are compared by [`color_histogram`]. A question is answered as the same question about the nearest training
    image that it was asked about; captions and scene classes as those of the nearest image that has one.

    Args:
        train: Rows as [`geodit.data.schema`] describes them, which have the answers.
        test: Rows with the questions.

    Returns:
        Answers to the questions of captions, visual questions and scene classes that training has, too, in the order
        of the test set.

    Source: Swain and Ballard, "Color indexing", IJCV 1991.
    """
    histograms, answers = [], []
    for row in _rows(train):
        histograms.append(color_histogram(row.image))
        of_image: dict[Hashable, str] = {}
        for question in row.questions:
            for answer in _answers(question)[:1]:
                of_image.setdefault((question.task, question.query), answer)
        answers.append(of_image)
    if not histograms:
        return []
    known = np.stack(histograms)
    records = []
    for row in _rows(test):
        distances = np.abs(known - color_histogram(row.image)).sum(axis=1)
        nearest = np.argsort(distances, kind="stable")
        for question in row.questions:
            key = question.task, question.query
            text = next((answers[index][key] for index in nearest if key in answers[index]), None)
            if question.task in _TEXT_TASKS and text is not None:
                records.append(_record(row, question, text=text))
    return records


def color_histogram(image: Image.Image) -> NDArray[np.float64]:
    """Return the share of the pixels of an image that have each of 512 colors, 8 levels of red, green and blue.

    Args:
        image: Any mode and size.

    Returns:
        Array of shape (512,) that adds up to 1.
    """
    levels = np.asarray(image.convert("RGB"), dtype=np.int64) >> (8 - _LEVELS)
    colors = (levels[..., 0] << 2 * _LEVELS) | (levels[..., 1] << _LEVELS) | levels[..., 2]
    shares: NDArray[np.float64] = np.bincount(colors.ravel(), minlength=1 << 3 * _LEVELS) / colors.size
    return shares


def typical_boxes(train: datasets.Dataset, test: datasets.Dataset) -> list[AnswerRecord]:
    """Put a box of the right class where such boxes are in training, without a look at the image.

    The typical box of a class has the median left, top, right and bottom of its training boxes, as shares of the
    image's width and height. A phrase to ground has the typical box of its object's class, which is given away; where
    the class is the phrase itself, as in data sets that do not know it, there is nothing to give away. A request to
    detect has, of each class that more than half of the training answers to the same request have, one.

    Args:
        train: Rows as [`geodit.data.schema`] describes them, which have the boxes.
        test: Rows with the questions.

    Returns:
        Answers to the questions of grounding and detection whose class or request training has, in the order of the
        test set.
    """
    boxes: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
    requests: Counter[str] = Counter()
    having: dict[str, Counter[str]] = defaultdict(Counter)
    for row in _rows(train):
        width, height = row.image.size
        for question in row.questions:
            for box, label in zip(question.boxes, question.labels, strict=True):
                boxes[label].append(np.asarray(box) / (width, height, width, height))
            if question.task == "detect":
                requests[question.query] += 1
                having[question.query].update(set(question.labels))
    typical = {label: np.median(of_label, axis=0) for label, of_label in boxes.items()}

    records = []
    for row in _rows(test):
        width, height = row.image.size
        for question in row.questions:
            if question.task == "ground" and _has_class(question) and question.labels[0] in typical:
                labels = [question.labels[0]]
            elif question.task == "detect" and question.query in requests:
                common = having[question.query]
                labels = sorted(label for label, count in common.items() if 2 * count > requests[question.query])
            else:
                continue
            placed = [_box(typical[label] * (width, height, width, height)) for label in labels]
            records.append(_record(row, question, boxes=placed, labels=labels))
    return records


def right_class_boxes(test: datasets.Dataset, *, seed: int = 0) -> list[AnswerRecord]:
    """Ground each phrase by any object of the right class, as if drawn at random from the true ones.

    It is what perfect detection reaches without reading the phrase beyond its class, and no upper bound: who reads the
    phrase can be better. The objects of an image are those that its questions have boxes of. Of n objects one is the
    right one in a draw of n. So that the figure does not depend on luck, as many right ones are drawn as are to be
    expected over all questions, to half a question: chance decides which questions those are.

    Args:
        test: Rows with the questions.
        seed: Seed of the draws.

    Returns:
        Answers to the questions of grounding whose class is not just the phrase, in the order of the test set.
    """
    asked: list[tuple[AnswerRecord, list[Box]]] = []  # without a box yet, and the other objects of the class
    for row in _rows(test):
        objects: dict[str, dict[Box, None]] = defaultdict(dict)
        for question in row.questions:
            for box, label in zip(question.boxes, question.labels, strict=True):
                objects[label][box] = None
        for question in row.questions:
            if question.task == "ground" and _has_class(question):
                others = [box for box in objects[question.labels[0]] if box != question.boxes[0]]
                asked.append((_record(row, question, labels=question.labels[:1]), others))
    rng = random.Random(seed)
    found: dict[int, Box] = {}
    # Systematic sampling: in random order, a question is right where the sum of chances passes a whole number.
    chances = Fraction(1, 2)
    for number in rng.sample(range(len(asked)), len(asked)):
        record, others = asked[number]
        chances += Fraction(1, 1 + len(others))
        found[number] = record.question.boxes[0] if chances >= 1 else rng.choice(others)
        chances -= int(chances)
    return [replace(record, boxes=(found[number],)) for number, (record, _) in enumerate(asked)]


def canonical_captions(test: datasets.Dataset) -> list[AnswerRecord]:
    """Give the first reference caption of each image as its caption.

    CIDEr averages over all references, so a caption that is one of several paraphrases does not reach 10: this is the
    ceiling of captions in one form, the first. Captions that mix the words of several references can have more.

    Args:
        test: Rows with the questions.

    Returns:
        Answers to the questions of captions, in the order of the test set.
    """
    return [
        _record(row, question, text=_answers(question)[0])
        for row in _rows(test)
        for question in row.questions
        if question.task == "caption"
    ]


def caption_overlap(train: datasets.Dataset, test: datasets.Dataset) -> float | None:
    """Return the share of the test set's reference captions that training has word by word.

    Args:
        train: Rows of the training set.
        test: Rows of the test set.

    Returns:
        From 0 to 1, whatever the case and punctuation; `None` if the test set has no captions.
    """

    def captions(dataset: datasets.Dataset) -> Iterator[str]:
        for _, questions in _questions(dataset):
            for question in questions:
                if question.task == "caption":
                    yield from map(tokenize_caption, _answers(question))

    known = set(captions(train))
    found = [caption in known for caption in captions(test)]
    return sum(found) / len(found) if found else None


@dataclass(frozen=True)
class Baseline:
    """A way to answer that stands beside a model in a table.

    Args:
        name: How it is called.
        description: One line about it.
        answer: Function of training and test rows to answers. Without training rows it raises `ValueError` if it needs
            some.
        needs_training: Whether it answers from training rows.
        uses_truth: Whether it is given a part of what a model has to find: the class of an object, or a reference. A
            model that does without can still be better.
    """

    name: str
    description: str
    answer: Callable[[datasets.Dataset | None, datasets.Dataset], list[AnswerRecord]]
    needs_training: bool = True
    uses_truth: bool = False


def _from_training(
    name: str,
    description: str,
    answer: Callable[[datasets.Dataset, datasets.Dataset], list[AnswerRecord]],
    *,
    uses_truth: bool = False,
) -> Baseline:
    def checked(train: datasets.Dataset | None, test: datasets.Dataset) -> list[AnswerRecord]:
        if train is None:
            raise ValueError(f"the baseline {name} answers from training rows; give some")
        return answer(train, test)

    return Baseline(name, description, checked, uses_truth=uses_truth)


def _from_truth(name: str, description: str, answer: Callable[[datasets.Dataset], list[AnswerRecord]]) -> Baseline:
    return Baseline(name, description, lambda train, test: answer(test), needs_training=False, uses_truth=True)


def _by_question(train: datasets.Dataset, test: datasets.Dataset) -> list[AnswerRecord]:
    return commonest_answers(train, test, by_question=True)


BASELINES: Mapping[str, Baseline] = MappingProxyType(
    {
        baseline.name: baseline
        for baseline in (
            _from_training("commonest", "the commonest training answer to each kind of question", commonest_answers),
            _from_training(
                "commonest_by_question", "the commonest training answer to the same question", _by_question
            ),
            _from_training(
                "nearest_image", "the answers of the training image of nearest colors", nearest_image_answers
            ),
            _from_training("typical_box", "a box of the right class at its median place in training", typical_boxes),
            _from_truth("right_class_box", "any true box of the right class", right_class_boxes),
            _from_truth("canonical_caption", "the first reference caption", canonical_captions),
        )
    }
)
"""The baselines by name."""


def score_baselines(
    train: datasets.Dataset | None,
    tests: Iterable[datasets.Dataset],
    *,
    tasks: Sequence[str] | None = None,
    bootstrap: int = 0,
    rules: ScoringRules | None = None,
) -> dict[str, dict[str, JsonObject]]:
    """Score every baseline on the questions of the tasks that it has answers to.

    Questions of such a task that it has no answer to count as not answered, so that its figures are over the same
    questions as those of a model.

    Args:
        train: Rows of the training set; without any, only baselines that need none are scored.
        tests: Rows of the test set, or of several, as repetitions with images of their own have. Their answers are
            pooled.
        tasks: The tasks that are scored; by default all.
        bootstrap: Number of bootstrap resamples, over images, for 95% intervals; 0 for none.
        rules: How to score, as for a model; by default what needs no Java.

    Returns:
        By the name of the baseline, what [`~geodit.evaluation.scoring.score_answers`] returns. Baselines that answer
        nothing are left out.
    """
    scored = [one for one in BASELINES.values() if train is not None or not one.needs_training]
    asked: list[list[AnswerRecord]] = []
    runs: dict[str, list[list[AnswerRecord]]] = {one.name: [] for one in scored}
    for test in tests:
        asked.append(_unanswered(test, tasks))
        for baseline in scored:
            answers = baseline.answer(train, test)
            runs[baseline.name].append([one for one in answers if tasks is None or one.question.task in tasks])
    found = {}
    for name, of_baseline in runs.items():
        answered = {answer.question.task for run in of_baseline for answer in run}
        if answered:
            pairs = zip(asked, of_baseline, strict=True)
            pooled = pool_runs([_filled(unanswered, run, answered) for unanswered, run in pairs])
            found[name] = score_answers(pooled.answers, images=pooled.images, bootstrap=bootstrap, rules=rules)
    return found


def _unanswered(test: datasets.Dataset, tasks: Sequence[str] | None) -> list[AnswerRecord]:
    """Return the record of no answer to each question, in the order of the test set."""
    return [
        _record(row, question, parsed=False)
        for row in _rows(test)
        for question in row.questions
        if tasks is None or question.task in tasks
    ]


def _filled(
    unanswered: Sequence[AnswerRecord], answers: Sequence[AnswerRecord], tasks: Collection[str]
) -> list[AnswerRecord]:
    """Put answers, which have the order of the questions, in the places of their questions of some tasks."""
    rest = deque(answers)
    return [
        rest.popleft()
        if rest and (rest[0].image_id, rest[0].question) == (nothing.image_id, nothing.question)
        else nothing
        for nothing in unanswered
        if nothing.question.task in tasks
    ]


class _Row(NamedTuple):
    image: Image.Image
    image_id: str
    questions: list[Question]


def _rows(dataset: datasets.Dataset) -> Iterator[_Row]:
    """Yield the rows of a data set, with each image decoded once."""
    check_columns(dataset.column_names)
    columns = dataset.select_columns(["image", "image_id", "questions"])
    if isinstance(columns.features["image"], datasets.Image):
        columns = columns.cast_column("image", datasets.Image(decode=False))
    for row in columns:
        yield _Row(decode_stored_image(row["image"]), row["image_id"], row_questions(row))


def _questions(dataset: datasets.Dataset) -> Iterator[tuple[str, list[Question]]]:
    """Yield image id and questions of each row, without a touch of its image."""
    check_columns(dataset.column_names)
    for row in dataset.select_columns(["image_id", "questions"]):
        yield row["image_id"], row_questions(row)


def _answers(question: Question) -> Sequence[str]:
    """Return the right answers in text: the references of a caption, one of others, none of boxes."""
    if question.task not in _TEXT_TASKS:
        return ()
    return question.references or (question.answer,)


def _has_class(question: Question) -> bool:
    """Return whether an object has a class that is not just the phrase: readers put that where no class is known."""
    return bool(question.labels) and question.labels[0] != question.query


def _box(sides: NDArray[np.float64]) -> Box:
    x1, y1, x2, y2 = sides.tolist()
    return x1, y1, x2, y2


def _record(
    row: _Row,
    question: Question,
    *,
    text: str = "",
    boxes: Sequence[Box] = (),
    labels: Sequence[str] = (),
    parsed: bool = True,
) -> AnswerRecord:
    return AnswerRecord(
        image_id=row.image_id,
        image_size=(row.image.height, row.image.width),
        question=question,
        text=text,
        boxes=tuple(boxes),
        labels=tuple(labels),
        parsed=parsed,
        num_steps=0,
    )

# SPDX-License-Identifier: Apache-2.0
"""From what is known of an image to questions of every task with their answers."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from geodit.annotations.phrases import referring_phrases
from geodit.annotations.records import LabeledObject, TextAnswer
from geodit.annotations.templates import Templates
from geodit.annotations.words import ClassWords
from geodit.data.schema import TASKS, Question

__all__ = ["KnownImage", "QuestionMaker", "QuestionNumbers", "class_shares"]

# Captions name so many classes, the most frequent first.
_CAPTION_CLASSES = 3


@dataclass(frozen=True)
class KnownImage:
    """What is known of an image, or of a tile of one.

    Args:
        image_id: Its name, on which depends what is asked.
        image_size: `(height, width)` in pixels.
        objects: All objects of the classes that were looked for, except those of `partial`.
        partial: Classes of which not all objects are known: nothing is asked about them.
        cut: Classes of which the edge of a tile cuts objects, so that the larger part is not seen. Those that are seen
            are asked for, as a rule that a model can learn; nothing is asked for which the others would be counted.
        captions: Each describes the whole image.
        answers: Questions with their answers.
        category: Class of the whole scene; empty if unknown.
        is_searched: Whether objects were looked for at all, so that the absence of a class means that there is none.
    """

    image_id: str
    image_size: tuple[int, int]
    objects: tuple[LabeledObject, ...] = ()
    partial: frozenset[str] = frozenset()
    cut: frozenset[str] = frozenset()
    captions: tuple[str, ...] = ()
    answers: tuple[TextAnswer, ...] = ()
    category: str = ""
    is_searched: bool = True


@dataclass(frozen=True)
class QuestionNumbers:
    """How many questions of each task are asked about an image, at most.

    Args:
        negatives: Of detection, questions about a class that is absent; of classes present, all are asked about.
        ground: Phrases.
        vqa: Counts, presence and comparisons together, beside the questions of the source.

    Raises:
        ValueError: If a number is negative.
    """

    negatives: int = 1
    ground: int = 3
    vqa: int = 3

    def __post_init__(self) -> None:
        for name in ("negatives", "ground", "vqa"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be a number of questions of at least 0, got {getattr(self, name)}")


@dataclass(frozen=True)
class QuestionMaker:
    """Makes questions about images.

    What is asked about an image depends on its name and the seed, and not on the images before it.

    Args:
        classes: All classes that were looked for.
        shares: Share of the images that have each class, for negatives: a class is looked for in vain in proportion to
            how often it is there, so that asking for it does not give the answer away. By default all alike.
        tasks: Which tasks are asked for.
        numbers: How many questions.
        words: The words for the classes.
        templates: How questions are worded.
        seed: Which questions are asked.

    Raises:
        ValueError: If a task is unknown.
    """

    classes: tuple[str, ...]
    shares: Mapping[str, float] = field(default_factory=dict)
    tasks: tuple[str, ...] = TASKS
    numbers: QuestionNumbers = field(default_factory=QuestionNumbers)
    words: ClassWords = field(default_factory=ClassWords)
    templates: Templates = field(default_factory=Templates.read)
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.tasks) - set(TASKS))
        if unknown:
            raise ValueError(f"unknown tasks {', '.join(unknown)}; the tasks are {', '.join(TASKS)}")

    def questions(self, image: KnownImage) -> list[Question]:
        """Return the questions about an image, in the order of the tasks."""
        rng = random.Random(f"{self.seed} {image.image_id}")
        makers: dict[str, Callable[[KnownImage, random.Random], list[Question]]] = {
            "caption": self._captions,
            "ground": self._phrases,
            "detect": self._classes,
            "vqa": self._answers,
            "classify": self._category,
        }
        return [question for task in TASKS if task in self.tasks for question in makers[task](image, rng)]

    def _counts(self, image: KnownImage) -> dict[str, int]:
        """Return how many objects there are of each class of which that is beyond doubt."""
        doubtful = image.partial | image.cut
        counts = dict.fromkeys(sorted({*self.classes, *(one.label for one in image.objects)} - doubtful), 0)
        for one in image.objects:
            if one.label in counts:
                counts[one.label] += 1
        return counts

    def _captions(self, image: KnownImage, rng: random.Random) -> list[Question]:
        texts = image.captions or self._made_captions(image)
        return [Question("caption", answer=texts[0], references=tuple(texts))] if texts else []

    def _made_captions(self, image: KnownImage) -> tuple[str, ...]:
        counts = sorted((-count, label) for label, count in self._counts(image).items() if count)
        place = self.words.with_article(image.category) if image.category else ""
        if not counts:
            of_place = self.templates.captions_of_an_empty_place if place else ()
            return tuple(text.format_map({"place": place}) for text in of_place)
        listed = self.words.listed([self.words.counted(-count, label) for count, label in counts[:_CAPTION_CLASSES]])
        values = {"listed": listed, "be": "is" if counts[0][0] == -1 else "are", "place": place}
        texts = self.templates.captions_of_a_place if place else self.templates.captions
        return tuple(text.format_map(values) for text in texts)

    def _phrases(self, image: KnownImage, rng: random.Random) -> list[Question]:
        by_sort: dict[str, list[Question]] = {}
        for one in referring_phrases(image.objects, image.image_size, self.words, image.partial | image.cut):
            target = one.target
            question = Question(
                "ground", one.text, boxes=(target.box,), labels=(target.label,), corners=(target.corners,)
            )
            by_sort.setdefault(one.sort, []).append(question)
        # What the source itself says comes first, of the rest every sort in turn.
        chosen = by_sort.pop("source", [])
        while by_sort and len(chosen) < self.numbers.ground:
            sort = rng.choice(sorted(by_sort))
            chosen.append(by_sort[sort].pop(rng.randrange(len(by_sort[sort]))))
            if not by_sort[sort]:
                del by_sort[sort]
        return chosen

    def _classes(self, image: KnownImage, rng: random.Random) -> list[Question]:
        if not image.is_searched:
            return []
        counts = self._counts(image)
        questions = []
        for label in sorted({one.label for one in image.objects} - image.partial):
            objects = sorted((one for one in image.objects if one.label == label), key=lambda one: one.box)
            boxes = tuple(one.box for one in objects)
            corners = tuple(one.corners for one in objects)
            questions.append(Question("detect", label, boxes=boxes, labels=(label,) * len(boxes), corners=corners))
        absent = [label for label, count in counts.items() if not count]
        for _ in range(min(self.numbers.negatives, len(absent))):
            label = rng.choices(absent, [self._odds(label) for label in absent])[0]
            absent.remove(label)
            questions.append(Question("detect", query=label))
        return questions

    def _odds(self, label: str) -> float:
        share = min(max(self.shares.get(label, 0.5), 0.01), 0.99)
        return share / (1.0 - share)

    def _answers(self, image: KnownImage, rng: random.Random) -> list[Question]:
        given = [Question("vqa", query=one.question, answer=one.answer) for one in image.answers]
        if not image.is_searched:
            return given
        counts = self._counts(image)
        kinds = [self._count, self._presence, self._compare]
        rng.shuffle(kinds)
        made: list[Question] = []
        for number in range(self.numbers.vqa):
            question = kinds[number % len(kinds)](counts, rng)
            if question is not None and all(question.query != other.query for other in [*given, *made]):
                made.append(question)
        return [*given, *made]

    def _count(self, counts: Mapping[str, int], rng: random.Random) -> Question | None:
        if not counts:
            return None
        labels = list(counts)
        # High counts are rarer, so they are asked for more often.
        label = rng.choices(labels, [(counts[label] + 0.2) ** 1.5 for label in labels])[0]
        query = self.templates.count.format_map(self._words_of(label))
        return Question("vqa", query=query, answer=str(counts[label]), kind="count")

    def _presence(self, counts: Mapping[str, int], rng: random.Random) -> Question | None:
        wanted = rng.random() < 0.5
        pool = [label for label, count in counts.items() if bool(count) == wanted]
        if not pool:
            return None
        # Every class as often with "yes" as with "no", so that the question does not give the answer away.
        odds = [1.0 / self._odds(label) if wanted else self._odds(label) for label in pool]
        label = rng.choices(pool, odds)[0]
        query = self.templates.presence.format_map(self._words_of(label))
        return Question("vqa", query=query, answer="yes" if wanted else "no", kind="presence")

    def _compare(self, counts: Mapping[str, int], rng: random.Random) -> Question | None:
        pairs = [(more, fewer) for more in counts for fewer in counts if counts[more] > counts[fewer]]
        if not pairs:
            return None
        more, fewer = rng.choice(pairs)
        wanted = rng.random() < 0.5
        first, second = (more, fewer) if wanted else (fewer, more)
        places = {"classes": self.words.plural(first), "other_classes": self.words.plural(second)}
        query = self.templates.compare.format_map(places)
        return Question("vqa", query=query, answer="yes" if wanted else "no", kind="compare")

    def _words_of(self, label: str) -> dict[str, str]:
        words = self.words
        return {"class": words.singular(label), "classes": words.plural(label), "a_class": words.with_article(label)}

    def _category(self, image: KnownImage, rng: random.Random) -> list[Question]:
        return [Question("classify", answer=image.category)] if image.category else []


def class_shares(images: Sequence[KnownImage]) -> dict[str, float]:
    """Return the share of images that have each class."""
    having = Counter(label for image in images for label in {one.label for one in image.objects})
    return {label: count / len(images) for label, count in sorted(having.items())}

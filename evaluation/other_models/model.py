# SPDX-License-Identifier: Apache-2.0
"""A model of others that answers our questions, and how fast it was."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodit.configuration.types_geodit import JsonObject
from geodit.data.schema import TASKS, QuestionDataset, QuestionItem, check_tasks
from geodit.evaluation.answer_store import AnswerStore
from geodit.evaluation.answerers import answers_of
from geodit.evaluation.answers import AnswerRecord, record_answer
from geodit.evaluation.collecting import AnswerCollector, Progress
from geodit.evaluation.fingerprints import model_fingerprint
from geodit.evaluation.other_models.families import DEFAULT_MAX_NEW_TOKENS, Family
from geodit.evaluation.other_models.generators import GeneratedText, Generator
from geodit.processing.tasks_geodit import names_several_classes

if TYPE_CHECKING:
    import datasets

__all__ = ["GenerationTiming", "OtherModel"]

_BOX_TASKS = ("ground", "detect")


@dataclass
class GenerationTiming:
    """How much a model wrote and how long it took. It counts on from one call to the next.

    Args:
        num_answers: Number of answers.
        num_tokens: Number of tokens of all answers.
        forward_passes: How many times the network was run for them, answer by answer.
        seconds: Wall-clock time of preparing the inputs and of generating, without reading images and answers.
    """

    num_answers: int = 0
    num_tokens: int = 0
    forward_passes: int = 0
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second, of all answers of a batch together; 0 before the first."""
        return self.num_tokens / self.seconds if self.seconds else 0.0

    @property
    def passes_per_answer(self) -> float:
        """Forward passes that an answer took, on average; 0 before the first."""
        return self.forward_passes / self.num_answers if self.num_answers else 0.0

    @property
    def seconds_per_answer(self) -> float:
        """Seconds that an answer took, on average; 0 before the first."""
        return self.seconds / self.num_answers if self.num_answers else 0.0

    def add(self, generated: Sequence[GeneratedText], seconds: float) -> None:
        """Count a batch."""
        self.num_answers += len(generated)
        self.num_tokens += sum(one.num_tokens for one in generated)
        self.forward_passes += sum(one.forward_passes for one in generated)
        self.seconds += seconds

    def to_dict(self) -> JsonObject:
        """Return counts and rates in types that JSON has."""
        return {
            "num_answers": self.num_answers,
            "num_tokens": self.num_tokens,
            "forward_passes": self.forward_passes,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second,
            "passes_per_answer": self.passes_per_answer,
            "seconds_per_answer": self.seconds_per_answer,
        }


class OtherModel:
    """A model of others behind our questions, as [`~geodit.evaluation.answerers.Answerer`].

    Args:
        name: How results call it: its directory or Hub id.
        generator: What runs it.
        max_new_tokens: How many tokens an answer may have, by task, where it is not the default.
        classes: The classes among which to choose, for `classify`; by default the model is told none.
        closed_set: The tasks in which the answers of the data set are the only choices. It can be `classify`, whose
            classes are told in the prompt, where `classes` has none.

    Attributes:
        timing: How much it wrote so far, and how fast.

    Raises:
        ValueError: If `max_new_tokens` names an unknown task, or is below 1.
    """

    def __init__(
        self,
        name: str,
        generator: Generator,
        *,
        max_new_tokens: Mapping[str, int] | None = None,
        classes: Sequence[str] | None = None,
        closed_set: Sequence[str] = (),
    ) -> None:
        if set(closed_set) - {"classify"}:
            raise ValueError(f"the closed set of another model can only be classify, not {', '.join(closed_set)}")
        check_tasks(list(max_new_tokens or ()) or None)
        if any(value < 1 for value in (max_new_tokens or {}).values()):
            raise ValueError(f"max_new_tokens must be at least 1, not {dict(max_new_tokens or {})}")
        self.name = name
        self.generator = generator
        self.max_new_tokens = {**DEFAULT_MAX_NEW_TOKENS, **(max_new_tokens or {})}
        self.classes = tuple(classes or ())
        self.closed_set = tuple(closed_set)
        self.timing = GenerationTiming()

    @property
    def family(self) -> Family:
        """How the model is asked."""
        return self.generator.family

    @property
    def decoding(self) -> None:
        """Of GeoDiT alone."""

    def fingerprint(self) -> str:
        """Return a hash of the weights."""
        return model_fingerprint(self.generator.model)

    def settings(self) -> JsonObject:
        """Return all that an answer depends on besides the model's files, in types that JSON has."""
        return {
            "family": self.family.name,
            "prompts": dict(self.family.prompts),
            "notation": self.family.notation.name,
            "max_new_tokens": dict(self.max_new_tokens),
            "classes": list(self.classes),
            "closed_set": list(self.closed_set),
        }

    def answer(self, items: Sequence[QuestionItem], classes: Sequence[str] | None = None) -> list[AnswerRecord]:
        """Answer questions as one batch.

        Args:
            items: Questions of one task with their images.
            classes: The classes among which to choose; by default those of the model.

        Returns:
            One record for each. `num_steps` is the number of forward passes: the tokens that were generated, for a
            model that writes one after the other.

        Raises:
            ValueError: If the questions are of several tasks.
        """
        if not items:
            return []
        tasks = {item["question"].task for item in items}
        if len(tasks) > 1:
            raise ValueError(f"a batch has questions of one task, not of {', '.join(sorted(tasks))}")
        prompts = [self.family.prompt(item["question"], classes or self.classes) for item in items]
        started = time.perf_counter()
        generated = self.generator.generate(
            [item["image"] for item in items], prompts, self.max_new_tokens[tasks.pop()]
        )
        self.timing.add(generated, time.perf_counter() - started)
        return [self.read(item, one) for item, one in zip(items, generated, strict=True)]

    def answer_dataset(
        self,
        dataset: datasets.Dataset,
        *,
        tasks: Sequence[str] | None = None,
        batch_size: int = 8,
        progress: Progress | None = None,
        closed_sets: Mapping[str, Sequence[str]] | None = None,
        store: AnswerStore | None = None,
        share: tuple[int, int] = (0, 1),
    ) -> list[AnswerRecord]:
        """Answer every question of a data set, see [`~geodit.evaluation.answerers.Answerer`].

        Raises:
            ValueError: If a task is unknown, the batch size is below 1, or there is no question.
            OSError: If an answer cannot be kept.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        questions = QuestionDataset(dataset, tasks)
        if not len(questions):
            asked = "any task" if tasks is None else " or ".join(tasks)
            raise ValueError(f"the data set of {len(dataset)} images has no question of {asked}")
        by_task: dict[str, list[int]] = {task: [] for task in TASKS}
        for index, question in enumerate(questions.questions):
            by_task[question.task].append(index)
        if closed_sets is None:
            closed_sets = {task: answers_of(dataset, task) for task in self.closed_set if by_task[task]}
        classes = self.classes or closed_sets.get("classify")
        collector = AnswerCollector(store, share, progress)
        for indices in collector.pending(list(by_task.values())):
            for start in range(0, len(indices), batch_size):
                batch = indices[start : start + batch_size]
                records = self.answer([questions[index] for index in batch], classes)
                for index, record in zip(batch, records, strict=True):
                    collector.add(index, record)
        return collector.in_order()

    def read(self, item: QuestionItem, generated: GeneratedText) -> AnswerRecord:
        """Read what the model wrote as the answer to a question. Any text is accepted."""
        question, image = item["question"], item["image"]
        if question.task not in _BOX_TASKS:
            answer = {"text": generated.text, "boxes": [], "labels": [], "parsed": bool(generated.text)}
            return record_answer(item, answer, generated.forward_passes, num_tokens=generated.num_tokens)
        parse = self.family.notation.decode(generated.text, (image.height, image.width), generated.seen_size)
        # A model names what it found in its own words; there is only one thing that it was asked about.
        several = question.task == "detect" and names_several_classes(question.query)
        labels = [label if several and label else question.query for label in parse.labels]
        answer = {"text": generated.text, "boxes": parse.boxes, "labels": labels, "parsed": parse.parsed}
        if any(parse.corners):
            answer["corners"] = parse.corners
        return record_answer(item, answer, generated.forward_passes, num_tokens=generated.num_tokens)

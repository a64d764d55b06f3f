# SPDX-License-Identifier: Apache-2.0
"""What a model can be asked: the prompt, the length of the canvas and the kind of answer of every task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from string import Formatter
from types import MappingProxyType
from typing import Literal, get_args

from geodit.configuration.types_geodit import JsonObject

AnswerKind = Literal["text", "boxes"]


@dataclass(frozen=True)
class Task:
    """One thing that a model can be asked about an image.

    Attributes:
        name: How the task is called in every API.
        prompt: What the model is told. `{query}` stands for what the user asks; a prompt without it takes no
            query.
        max_new_tokens: Length of the canvas: how many tokens the answer has at most.
        answer: `"text"`, or `"boxes"` if the answer is read as boxes.

    Raises:
        ValueError: If a field has a value that it cannot have.
    """

    name: str
    prompt: str
    max_new_tokens: int
    answer: AnswerKind = "text"

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError(f"A task needs a name, got {self.name!r}.")
        try:
            parts = list(Formatter().parse(self.prompt))
        except (TypeError, ValueError) as error:
            raise ValueError(f"The prompt of task {self.name!r} is not a format string: {self.prompt!r}.") from error
        # A field may ask for a width of its own, and so for any amount of memory.
        if any(name not in (None, "query") or width or conversion for _, name, width, conversion in parts):
            raise ValueError(
                f"The prompt of task {self.name!r} may hold {{query}} and no other field, got {self.prompt!r}."
            )
        if type(self.max_new_tokens) is not int or self.max_new_tokens < 1:
            raise ValueError(
                f"`max_new_tokens` of task {self.name!r} must be a positive integer, got {self.max_new_tokens!r}."
            )
        if self.answer not in get_args(AnswerKind):
            raise ValueError(
                f"`answer` of task {self.name!r} must be one of {', '.join(get_args(AnswerKind))}, got "
                f"{self.answer!r}."
            )

    @property
    def takes_query(self) -> bool:
        """Whether the prompt has a place for a query."""
        return any(name == "query" for _, name, _, _ in Formatter().parse(self.prompt))

    def format_prompt(self, query: str = "") -> str:
        """Return the prompt with the query in its place.

        Raises:
            ValueError: If the task needs a query and gets none, or the other way round.
        """
        if self.takes_query and not query.strip():
            raise ValueError(f"Task {self.name!r} needs a query, for its prompt {self.prompt!r}.")
        if not self.takes_query and query.strip():
            raise ValueError(f"Task {self.name!r} takes no query, got {query!r}.")
        return self.prompt.format(query=query.strip())

    def to_dict(self) -> JsonObject:
        """Return the fields as a dictionary that JSON can hold."""
        return asdict(self)


# Canvas lengths of the paper: 16 for captions, 32 for detection, 8 for the rest. With location tokens a box
# has four tokens: 8 hold the one box of a grounding answer, 32 up to eight boxes.
DEFAULT_TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task("caption", "Describe the image.", 16),
            Task("ground", "Locate: {query}.", 8, "boxes"),
            Task("detect", "Detect: {query}.", 32, "boxes"),
            Task("vqa", "{query}", 8),
            Task("classify", "Classify the scene.", 8),
        )
    }
)
"""The tasks of the paper with short prompts. `vqa` passes on the query as it is."""


def load_tasks(tasks: Mapping[str, Task | JsonObject] | None) -> dict[str, Task]:
    """Read a table of tasks, as it is saved with a processor.

    Args:
        tasks: Task, or its fields as a dictionary, by name. None stands for `DEFAULT_TASKS`.

    Returns:
        The tasks by name.

    Raises:
        ValueError: If the table is empty, or a task has unknown, missing or wrong fields, or another name
            than its key.
    """
    if tasks is None:
        return dict(DEFAULT_TASKS)
    if not tasks:
        raise ValueError("`tasks` must hold at least one task.")
    loaded = {}
    for name, value in tasks.items():
        if isinstance(value, Task):
            task = value
        else:
            try:
                task = Task(**{"name": name, **value})
            except TypeError as error:
                allowed = ", ".join(Task.__dataclass_fields__)
                raise ValueError(f"Task {name!r} needs the fields {allowed}; got {value!r}.") from error
        if task.name != name:
            raise ValueError(f"The task under the key {name!r} is called {task.name!r}.")
        loaded[name] = task
    return loaded


def resolve_task(tasks: Mapping[str, Task], name: str) -> Task:
    """Return the task of that name.

    Raises:
        ValueError: If there is none; the message lists the tasks there are.
    """
    if name not in tasks:
        raise ValueError(f"Unknown task {name!r}. Choose one of: {', '.join(tasks)}.")
    return tasks[name]


def names_several_classes(query: str) -> bool:
    """Return whether a query names several classes, separated by commas or semicolons: `ship; harbor`.

    Boxes of several classes are written with their labels.
    """
    return sum(bool(name.strip()) for name in query.replace(";", ",").split(",")) > 1

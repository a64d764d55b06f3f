# SPDX-License-Identifier: Apache-2.0
"""What processor_config.json and tokenizer.json say about questions, answers and tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.hub_cards.card.checkpoint_files import Field, read_fields
from geodit.hub_cards.card.markdown import Markdown, Table, code
from geodit.processing.boxes_geodit import BoxCodec, get_box_codec
from geodit.processing.tasks_geodit import Task, load_tasks

__all__ = ["Interface", "read_interface", "special_tokens_table"]

# What the notation of boxes is shown with: (height, width) of an image, and a box in it.
_EXAMPLE_SIZE = (96, 96)
_EXAMPLE_BOX = (24.0, 12.0, 48.0, 60.0)
_TOKENS_PER_BOX = 4

_ROLES = {
    "bos_token_id": "beginning of the text",
    "eos_token_id": "end of an answer",
    "pad_token_id": "padding",
    "mask_token_id": Markdown("mask `[M]`, a token not yet known"),
    "image_token_id": "placeholder of one image feature",
}


@dataclass(frozen=True)
class Interface:
    """The tasks of a processor, and how it writes boxes.

    Args:
        tasks: The tasks, in the order of the paper where they are the paper's.
        box_format: Name of the notation of boxes.
        location_bins: Number of location tokens, or `None` for a notation without them.
    """

    tasks: tuple[Task, ...]
    box_format: str
    location_bins: int | None

    @property
    def table(self) -> Table:
        """The tasks with their prompts, canvas lengths and kinds of answer."""
        rows = [(code(task.name), code(task.prompt), task.answer, str(task.max_new_tokens)) for task in self.tasks]
        return Table(("task", "prompt", "answer", "canvas, tokens"), tuple(rows), num_left=3)

    @property
    def example_task(self) -> Task:
        """The task to show code with: the one with room for the most boxes, if any has boxes."""
        return max(self.tasks, key=lambda task: (task.answer == "boxes", task.max_new_tokens))

    @property
    def has_boxes(self) -> bool:
        """Whether any task is answered by boxes."""
        return self.example_task.answer == "boxes"

    @property
    def example_box(self) -> tuple[float, ...]:
        """A box, `[x1, y1, x2, y2]` in pixels."""
        return _EXAMPLE_BOX

    @property
    def example_image_size(self) -> tuple[int, int]:
        """Height and width of the image that `example_box` is in."""
        return _EXAMPLE_SIZE

    @property
    def example_answer(self) -> str:
        """`example_box` as the model writes it."""
        return self._codec().encode([_EXAMPLE_BOX], _EXAMPLE_SIZE)

    def max_boxes(self, task: Task) -> int | None:
        """Return the most boxes that an answer can hold, where every box takes the same number of tokens."""
        return task.max_new_tokens // _TOKENS_PER_BOX if self.box_format == "location_tokens" else None

    def _codec(self) -> BoxCodec:
        return get_box_codec(self.box_format, self.location_bins)


def read_interface(folder: Path) -> Interface | None:
    """Read processor_config.json; `None` if the folder has none.

    Raises:
        ValueError: If the file is not that of a GeoDiT processor.
    """
    path = folder / "processor_config.json"
    if not path.is_file():
        return None
    document = read_fields(path)
    bins = document.get("location_bins")
    box_format = document["box_format"].text()
    try:
        tasks = load_tasks(document["tasks"].mapping())
        interface = Interface(_in_order(tasks), box_format, None if bins is None else bins.integer())
        interface._codec()
    except ValueError as error:
        prefix = "" if str(path) in str(error) else f"{path}: "
        raise ValueError(f"{prefix}{error}") from error
    return interface


def special_tokens_table(folder: Path, config: GeoDiTConfig, interface: Interface | None) -> Table | None:
    """Build a table of the tokens that have a role, with their ids; return `None` without a tokenizer.json.

    Raises:
        ValueError: If tokenizer.json is not that of a tokenizer.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    tokens = _added_tokens(read_fields(path))
    rows = []
    for field, role in _ROLES.items():
        token_id = getattr(config, field)
        if token_id is not None:
            token = tokens.get(token_id)
            rows.append((role, "" if token is None else code(token), str(token_id)))
    if interface is not None and interface.box_format == "location_tokens" and interface.location_bins:
        ids = {token: token_id for token_id, token in tokens.items()}
        ends = [f"<loc_{index}>" for index in (0, interface.location_bins - 1)]
        if all(token in ids for token in ends):
            first, last = ends
            span = Markdown(f"{code(first)} to {code(last)}")
            rows.append(("bins of the coordinates", span, f"{ids[first]} to {ids[last]}"))
    return Table(("role", "token", "id"), tuple(rows), num_left=2)


def _added_tokens(tokenizer: Field) -> dict[int, str]:
    tokens = tokenizer["added_tokens"].elements()
    return {token["id"].integer(): token["content"].text() for token in tokens}


def _in_order(tasks: dict[str, Task]) -> tuple[Task, ...]:
    # JSON files of Transformers are sorted by name.
    order = {name: index for index, name in enumerate(load_tasks(None))}
    return tuple(sorted(tasks.values(), key=lambda task: order.get(task.name, len(order))))

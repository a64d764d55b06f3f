# SPDX-License-Identifier: Apache-2.0
"""Answers as a table for the terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from geodit.cli.output import plain

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from geodit.pipelines.prediction import Prediction

# Of a scene with thousands of objects the file has them all.
_MAX_ROWS = 100


def predictions_table(rows: Sequence[tuple[str, "Prediction"]]) -> "Table":
    """Build a table of the answers: a row per image and query or, where there are boxes, a row per box.

    Args:
        rows: Images and answers about them.
    """
    from rich.table import Table

    predictions = [prediction for _, prediction in rows]
    with_boxes = any(prediction.boxes for prediction in predictions)
    several = len({prediction.query for prediction in predictions}) > 1
    table = Table()
    table.add_column("image")
    if several:
        table.add_column("query")
    has_probabilities = any(prediction.choice_probabilities for prediction in predictions)
    if with_boxes:
        for name in ("label", "score", "x1", "y1", "x2", "y2"):
            table.add_column(name, justify="left" if name == "label" else "right")
    else:
        table.add_column("answer")
        if has_probabilities:
            table.add_column("probability", justify="right")
    left_over = 0
    for image, prediction in rows:
        names = [plain(image_name(image)), *([plain(prediction.query)] if several else [])]
        found = list(zip(prediction.boxes, prediction.labels, prediction.scores, strict=True))
        room = max(0, _MAX_ROWS - table.row_count)
        left_over += max(0, max(1, len(found)) - room)
        if not found and room:
            probability = (prediction.choice_probabilities or {}).get(prediction.text)
            shown = [f"{probability:.2f}"] if has_probabilities and probability is not None else []
            table.add_row(*names, answer_text(prediction), *shown)
        for index, (box, label, score) in enumerate(found[:room]):
            shown_names = names if index == 0 else [""] * len(names)
            table.add_row(*shown_names, plain(label), f"{score:.2f}", *(f"{value:.1f}" for value in box))
        if with_boxes:
            table.add_section()
    notes = [_unparsed_note(predictions), f"and {left_over:,} rows more" if left_over else None]
    table.caption = "; ".join(note for note in notes if note) or None
    return table


def image_name(image: str) -> str:
    """Return the last part of a path or an address."""
    return image.rstrip("/").rpartition("/")[2] or image


def _unparsed_note(predictions: Sequence["Prediction"]) -> str | None:
    """Return how many answers have boxes and did not parse as a whole; their well-formed boxes stand in the table."""
    unparsed = sum(
        prediction.num_unparsed_tiles or 1 for prediction in predictions if prediction.boxes and not prediction.parsed
    )
    if not unparsed:
        return None
    return f"{unparsed} answer{'s' * (unparsed > 1)} only partly understood: only well-formed boxes are shown"


def answer_text(prediction: "Prediction") -> "Text":
    """Return the answer of a task without boxes, or what to say where there is none."""
    if not prediction.parsed:
        return plain(f"{prediction.text} (not understood)")
    return plain(prediction.text)

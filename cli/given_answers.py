# SPDX-License-Identifier: Apache-2.0
"""`geodit evaluate --answers`: score what any model wrote, by our metrics and as other projects score."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from geodit.cli.errors import CommandError
from geodit.cli.output import print_json, results_console
from geodit.configuration.types_geodit import JsonObject

if TYPE_CHECKING:
    import datasets
    from rich.table import Table


def score_given_answers(
    path: Path,
    dataset: "datasets.Dataset",
    *,
    tasks: Sequence[str] | None,
    box_format: str | None,
    protocols: Sequence[str],
    bootstrap: int,
    as_json: bool,
) -> JsonObject:
    """Read answers, score them under protocols, and print the figures.

    Args:
        path: File of JSON lines.
        dataset: The questions.
        tasks: The tasks that count; by default all that were answered.
        box_format: How boxes are written in texts.
        protocols: Names of protocols.
        bootstrap: Number of bootstrap resamples for 95% intervals.
        as_json: Whether to print JSON.

    Returns:
        The figures of each protocol, by its name.
    """
    from geodit.evaluation.given_answers import read_given_answers
    from geodit.evaluation.protocols import get_protocol
    from geodit.processing.boxes_geodit import get_box_codec

    chosen = [get_protocol(name) for name in protocols]
    if box_format == "location_tokens":
        raise CommandError("location tokens are of GeoDiT: answers in them are read by geodit evaluate itself")
    codec = None if box_format is None else get_box_codec(box_format)
    answers = read_given_answers(path, dataset, tasks=tasks, codec=codec)
    figures = {protocol.name: protocol.score(answers, bootstrap=bootstrap) for protocol in chosen}
    if as_json:
        print_json(figures)
    else:
        results_console().print(protocols_table(figures))
    return figures


def protocols_table(figures: JsonObject) -> "Table":
    """Build a table of the figures of protocols, each on its own scale."""
    from rich.table import Table

    table = Table("protocol", "task", "figure")
    table.add_column("value", justify="right")
    for protocol, tasks in figures.items():
        for task, result in tasks.items():
            for name, value in result.items():
                if isinstance(value, float) and name not in ("iou_threshold", "mean_steps"):
                    table.add_row(protocol, task, name, _shown(value, result.get("confidence_intervals"), name))
        table.add_section()
    return table


def _shown(value: float, intervals: JsonObject | None, name: str) -> str:
    interval = (intervals or {}).get(name)
    return f"{value:.3f}" if interval is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"

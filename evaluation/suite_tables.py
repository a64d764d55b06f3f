# SPDX-License-Identifier: Apache-2.0
"""Results of suites as tables: for a terminal, as Markdown and as CSV, and laid out as papers do."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from geodit.configuration.types_geodit import JsonObject
from geodit.evaluation.baseline_tables import baselines_markdown, baselines_table
from geodit.evaluation.main_figures import MAIN_FIGURES
from geodit.evaluation.protocols import DEFAULT_PROTOCOL, get_protocol
from geodit.evaluation.report.tables import value_cell
from geodit.evaluation.scaled_figures import Value, scaled
from geodit.evaluation.suite_results import SuiteCell, SuiteResult
from geodit.hub_cards.card.markdown import Table as MarkdownTable
from geodit.hub_cards.card.markdown import as_markdown

__all__ = ["SuiteRow", "paper_tables", "suite_csv", "suite_markdown", "suite_rows", "suite_tables"]

_KEPT = "_keep_wellformed"
_HEADER = (
    *("data set", "setting", "protocol", "task", "figure"),
    *("measured", "well-formed kept", "parsed", "paper", "questions"),
)
_NUM_WORDS = _HEADER.index("measured")
_SPEED = ("data set", "setting", "seconds per question", "passes per answer", "tokens per second")
_THE_PAPER = "the paper"


@dataclass(frozen=True)
class SuiteRow:
    """A figure of a data set, on the scale of papers: times 100.

    Args:
        dataset: The data set.
        setting: Decoding settings, if several are compared.
        protocol: How answers were scored.
        task: The task, or a kind of its questions: `"vqa.count"`.
        figure: Name of the figure.
        measured: What was measured; `None` if it is undefined.
        kept: The same where well-formed boxes of answers that do not parse count, if the protocol has that.
        parse_rate: Share of answers that parsed, if the protocol knows it.
        published: What the paper states, whose protocol is not known.
        num_questions: Questions that it is about.
    """

    dataset: str
    setting: str
    protocol: str
    task: str
    figure: str
    measured: Value | None
    kept: Value | None
    parse_rate: Value | None
    published: float | None
    num_questions: int

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, rounded once."""
        words = (self.dataset, self.setting, self.protocol, self.task, self.figure)
        values = (self.measured, self.kept, self.parse_rate, _published(self.published))
        return (*words, *map(value_cell, values), f"{self.num_questions:,}")

    @property
    def is_headline(self) -> bool:
        """Whether it is ours, or stands for its task under its protocol."""
        if self.protocol == DEFAULT_PROTOCOL:
            return True
        return self.figure == get_protocol(self.protocol).headlines.get(self.task)


def suite_rows(result: SuiteResult) -> Iterator[SuiteRow]:
    """Yield the figures that the paper states, the main figure of each task, and those of other protocols.

    Args:
        result: Of the suite.
    """
    for cell in result.cells:
        names = dict.fromkeys((*cell.published, *(f"{task}.{MAIN_FIGURES[task]}" for task in cell.figures)))
        for name in names:
            task, _, figure = name.rpartition(".")
            yield _row(cell, DEFAULT_PROTOCOL, task, figure, _part(cell.figures, task))
        for protocol, figures in cell.protocols.items():
            for task, found in figures.items():
                for figure, value in found.items():
                    if isinstance(value, float) or figure == get_protocol(protocol).headlines[task]:
                        yield _row(cell, protocol, task, figure, found)


def suite_tables(result: SuiteResult) -> list[Table]:
    """Build tables for a terminal: of the main figures, of baselines, and of how fast answers were given.

    Columns without anything in them are left out.

    Args:
        result: Of the suite.
    """
    rows = [row.cells() for row in suite_rows(result) if row.is_headline]
    tables = [_table(f"{result.suite}{_limited(result)}, times 100", _HEADER, rows, num_left=_NUM_WORDS)]
    tables += [
        baselines_table(cell.baselines, f"{cell.entry.dataset} without a model, times 100")
        for cell in result.cells
        if cell.baselines
    ]
    if speed := list(_speed_rows(result)):
        tables.append(_table("speed, over all processes", _SPEED, speed, num_left=2))
    return tables


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], num_left: int) -> Table:
    columns = [column for column in range(len(header)) if any(row[column] not in ("", "-") for row in rows)]
    table = Table(title=title)
    for column in columns:
        # A name that is cut is no name.
        is_name = column < num_left
        table.add_column(header[column], justify="left" if is_name else "right", no_wrap=is_name, overflow="fold")
    for row in rows:
        table.add_row(*(row[column] for column in columns))
    return table


def suite_markdown(result: SuiteResult) -> str:
    """Return tables laid out as the paper's, all figures, and the speed, as Markdown."""
    parts = [f"# {as_markdown(result.suite)}: {as_markdown(result.model)}"]
    parts.append(
        "Figures are times 100, CIDEr too; in brackets are 95% intervals over images. The paper does not say how its "
        f"figures were computed. Protocol `{DEFAULT_PROTOCOL}` counts an answer that does not parse as wrong."
        + (f" Of each data set only the first {result.limit:,} images were asked about." if result.limit else "")
    )
    parts += [f"## {title}\n\n{table}" for title, table in paper_tables(result)]
    notes = dict.fromkeys((cell.entry.dataset, cell.entry.note) for cell in result.cells if cell.entry.note)
    parts += [f"{as_markdown(dataset)}: {note}." for dataset, note in notes]
    rows = tuple(row.cells() for row in suite_rows(result))
    parts.append(f"## All figures\n\n{MarkdownTable(_HEADER, rows, num_left=_NUM_WORDS)}")
    baselines = baselines_markdown((cell.entry.dataset, cell.baselines) for cell in result.cells)
    if baselines is not None:
        parts.append(f"## Baselines\n\n{baselines}")
    parts += [
        f"{as_markdown(cell.entry.dataset)} has no baselines of training: {as_markdown(cell.no_baselines)}."
        for cell in result.cells
        if cell.no_baselines
    ]
    if speed := tuple(_speed_rows(result)):
        parts.append(f"## Speed\n\nTimes are sums over processes.\n\n{MarkdownTable(_SPEED, speed, num_left=2)}")
    return "\n\n".join(parts) + "\n"


def suite_csv(result: SuiteResult) -> str:
    """Return the figures as CSV, with intervals in columns of their own and nothing rounded."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        (
            *("dataset", "setting", "protocol", "task", "figure", "value", "low", "high"),
            *("keep_wellformed", "parse_rate", "published", "num_questions"),
        )
    )
    for row in suite_rows(result):
        low, high = (row.measured and row.measured.interval) or (None, None)
        kept, parsed = (value and value.value for value in (row.kept, row.parse_rate))
        value = row.measured and row.measured.value
        named = (row.dataset, row.setting, row.protocol, row.task, row.figure)
        writer.writerow((*named, value, low, high, kept, parsed, row.published, row.num_questions))
    return buffer.getvalue()


def paper_tables(result: SuiteResult) -> Iterator[tuple[str, MarkdownTable]]:
    """Yield, for each task that the paper has figures of, a table laid out as the paper's.

    Data sets are columns. The first line is the paper's, the others have what was measured under each protocol.

    Args:
        result: Of the suite.

    Yields:
        `(title, table)`.
    """
    for task in MAIN_FIGURES:
        cells = [cell for cell in result.cells if task in cell.entry.tasks]
        columns = dict.fromkeys(
            (cell.entry.dataset, name) for cell in cells for name in cell.published if name.startswith(f"{task}.")
        )
        rows: list[tuple[str, ...]] = []
        for setting in dict.fromkeys(cell.setting for cell in cells) if columns else ():
            of_setting = {cell.entry.dataset: cell for cell in cells if cell.setting == setting}
            told = ", ".join(filter(None, (_THE_PAPER, setting)))
            published = [
                of_setting[name].published.get(figure) if name in of_setting else None for name, figure in columns
            ]
            if any(published):
                rows.append((told, "not stated", *(value_cell(_published(value)) for value in published)))
            protocols = dict.fromkeys(name for cell in of_setting.values() for name in cell.protocols)
            for protocol in (DEFAULT_PROTOCOL, *protocols):
                measured = [_measured(of_setting.get(dataset), protocol, figure) for dataset, figure in columns]
                if any(value is not None for value in measured):
                    headline = "" if protocol == DEFAULT_PROTOCOL else get_protocol(protocol).headlines[task]
                    named = f"{protocol} ({headline})" if headline else protocol
                    rows.append((", ".join(filter(None, (result.model, setting))), named, *map(value_cell, measured)))
        if rows:
            header = ("model", "protocol", *(f"{dataset}: {figure.partition('.')[2]}" for dataset, figure in columns))
            yield task, MarkdownTable(header, tuple(rows), num_left=2)


def _measured(cell: SuiteCell | None, protocol: str, name: str) -> Value | None:
    """Return what a protocol has for a figure of the paper: by our own name, or its headline."""
    if cell is None:
        return None
    task, _, figure = name.rpartition(".")
    if protocol == DEFAULT_PROTOCOL:
        return scaled(figure, _part(cell.figures, task))
    headline = get_protocol(protocol).headlines.get(task)  # not of parts of a task
    return None if headline is None else scaled(headline, cell.protocols[protocol].get(task, {}))


def _row(cell: SuiteCell, protocol: str, task: str, figure: str, found: JsonObject) -> SuiteRow:
    return SuiteRow(
        dataset=cell.entry.dataset,
        setting=cell.setting,
        protocol=protocol,
        task=task,
        figure=figure,
        measured=scaled(figure, found),
        kept=scaled(figure + _KEPT, found),
        parse_rate=scaled("parse_rate", found),
        published=cell.published.get(f"{task}.{figure}") if protocol == DEFAULT_PROTOCOL else None,
        num_questions=int(found.get("num_samples", 0)),
    )


def _part(figures: Mapping[str, JsonObject], name: str) -> JsonObject:
    """Return the figures of a task, or of a kind of its questions (`"vqa.count"`)."""
    task, _, kind = name.partition(".")
    result = figures.get(task, {})
    part: JsonObject = result.get("by_kind", {}).get(kind, {}) if kind else result
    return part


def _speed_rows(result: SuiteResult) -> Iterator[tuple[str, ...]]:
    for cell in result.cells:
        if cell.seconds:
            steps = sum(answer.num_steps for answer in cell.answers) / cell.num_questions
            tokens = cell.tokens_per_second
            yield (
                cell.entry.dataset,
                cell.setting,
                f"{cell.seconds / cell.num_questions:.3f}",
                f"{steps:.1f}",
                "-" if tokens is None else f"{tokens:.1f}",
            )


def _limited(result: SuiteResult) -> str:
    return "" if result.limit is None else f", the first {result.limit:,} images"


def _published(value: float | None) -> Value | None:
    return None if value is None else Value(value)

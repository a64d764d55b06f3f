# SPDX-License-Identifier: Apache-2.0
"""Write a report into a folder: Markdown, CSV, JSON, plots and sheets of pictures."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import datasets
from PIL import Image

from geodit.configuration.files_geodit import write_atomically
from geodit.evaluation.baseline_tables import baselines_markdown, times_100_title
from geodit.evaluation.comparison import FigureChange
from geodit.evaluation.main_figures import MAIN_FIGURES, mean_score
from geodit.evaluation.report.comparisons import Comparison
from geodit.evaluation.report.contents import Report, ReportCell
from geodit.evaluation.report.figures import RULES, figure_rows, figures_csv
from geodit.evaluation.report.plots import PLOTS, can_plot, draw_plots
from geodit.evaluation.report.sheets import SHEETS, draw_sheets
from geodit.evaluation.report.tables import CHANGE_COLUMNS, change_cells, value_cell
from geodit.evaluation.scaled_figures import Value, scaled
from geodit.hub_cards.card.markdown import Markdown, Table, as_markdown, image, one_line, without_folders

__all__ = ["write_report"]

RowsOf = Callable[[ReportCell], datasets.Dataset]

_REPORT = "report.md"
_FIGURES = "figures.csv"
_COMPARISONS = "comparisons.json"
_NO_PLOTS = (
    "There are no plots, as Matplotlib is not installed: `pip install matplotlib` and the same command add them."
)


def write_report(
    folder: str | Path,
    report: Report,
    rows_of: RowsOf,
    comparisons: Sequence[Comparison] = (),
) -> list[Path]:
    """Write `report.md` with its plots and sheets, `figures.csv`, and `comparisons.json` if anything is compared.

    The same answers give the same bytes.

    Args:
        folder: Where to; made if need be.
        report: The contents.
        rows_of: Gives the data set that a cell was asked about, for the sheets.
        comparisons: Of settings or models.

    Returns:
        The files that were written.

    Raises:
        OSError: If a file cannot be written.
    """
    folder = Path(folder)
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    (folder / "sheets").mkdir(exist_ok=True)
    files: dict[str, bytes] = {}
    plots = draw_plots(report) if can_plot() else {}
    files |= {f"plots/{name}.png": content for name, content in plots.items()}
    sheets = []
    for dataset, cells in report.datasets.items():
        best = max(cells, key=lambda cell: mean_score(cell.figures))
        for (task, name), sheet in draw_sheets(best.runs[0], rows_of(best)).items():
            path = f"sheets/{best.name}-{task}-{name}.png"
            files[path] = _png(sheet)
            sheets.append((f"{dataset}, {best.setting}, {task}: {SHEETS[name]}", path))
    if comparisons:
        document = json.dumps([one.to_dict() for one in comparisons], indent=1)
        files[_COMPARISONS] = f"{document}\n".encode()
    files[_FIGURES] = figures_csv(report).encode()
    parts = (
        _head(report),
        _summary(report),
        *_baseline_parts(report),
        *_protocol_parts(report),
        *_speed_parts(report),
        *_comparison_parts(comparisons),
        *_plot_parts(report, list(plots)),
        *_sheet_parts(sheets),
        *_figure_parts(report),
    )
    files[_REPORT] = ("\n\n".join(parts) + "\n").encode()
    for path, content in files.items():
        write_atomically(folder / path, content)
    for old in (*(folder / "plots").glob("*.png"), *(folder / "sheets").glob("*.png"), folder / _COMPARISONS):
        if old.relative_to(folder).as_posix() not in files:
            old.unlink(missing_ok=True)  # of a report that was here before
    return [folder / path for path in files]


def _head(report: Report) -> str:
    facts = []
    if report.model is not None:
        facts.append(f"* Model: {as_markdown(without_folders(report.model))}")
    if report.split is not None:
        facts.append(f"* Split: {as_markdown(report.split)}")
    if report.seeds:
        seeds = ", ".join(map(str, report.seeds))
        facts.append(f"* Decoding seed{'s' * (len(report.seeds) > 1)}: {seeds}")
    if report.dataset_seeds is not None:
        facts.append(f"* Seeds of the images: {', '.join(map(str, report.dataset_seeds))}")
    versions = ", ".join(f"{name} {version}" for name, version in report.environment.items() if version is not None)
    facts.append(f"* Environment: {as_markdown(versions)}")
    command = ""
    if report.command is not None:
        command = f"\n\n```\n{one_line(shlex.join(map(without_folders, report.command)))}\n```"
    return f"# Evaluation: {as_markdown(report.title)}\n\n" + "\n".join(facts) + command


def _summary(report: Report) -> str:
    rows = []
    for cell in report.cells:
        for task, result in cell.figures.items():
            main = MAIN_FIGURES[task]
            rows.append(
                (
                    cell.dataset,
                    cell.setting,
                    task,
                    times_100_title(task, main),
                    value_cell(scaled(main, result)),
                    value_cell(scaled("parse_rate", result)),
                    f"{result['mean_steps']:.1f}" if result["mean_steps"] else "-",
                    f"{cell.num_questions(task):,}",
                    f"{cell.num_images(task):,}",
                    f"{cell.num_runs}",
                )
            )
    header = (
        "data set", "setting", "task", "figure", "value", "parsed", "steps", "questions", "images", "runs",
    )  # fmt: skip
    return (
        "## Summary\n\n"
        "Figures are times 100, CIDEr too, as papers print it; in brackets are 95% intervals by a bootstrap over "
        "images, of all runs pooled, and Wilson's where a share is 0 or 100. Runs with the same answers count once. "
        "An answer that does not parse is wrong. Steps are forward passes per answer."
        f"\n\n{Table(header, tuple(rows), num_left=4)}"
    )


def _speed_parts(report: Report) -> Iterator[str]:
    rows = tuple(
        (
            cell.dataset,
            cell.setting,
            f"{cell.seconds_per_question:.3f}",
            "-" if cell.tokens_per_second is None else f"{cell.tokens_per_second:.0f}",
        )
        for cell in report.cells
        if cell.seconds_per_question
    )
    if rows:
        header = ("data set", "setting", "seconds per question", "tokens per second")
        yield (
            "## Speed\n\nOf all tasks together, as sums over processes and sessions. Tokens are those of answers, "
            f"with the one that ends them.\n\n{Table(header, rows, num_left=2)}"
        )


def _baseline_parts(report: Report) -> Iterator[str]:
    table = baselines_markdown(report.baselines.items())
    if table is not None:
        yield f"## Baselines\n\nWhat the questions are worth without a model.\n\n{table}"


def _protocol_parts(report: Report) -> Iterator[str]:
    rows = [
        (cell.dataset, cell.setting, protocol, task, figure, value_cell(scaled(figure, result)))
        for cell in report.cells
        for protocol, tasks in cell.protocols.items()
        for task, result in tasks.items()
        for figure in result
        if scaled(figure, result) is not None
    ]
    if rows:
        header = ("data set", "setting", "protocol", "task", "figure", "value")
        yield (
            "## Other protocols\n\nThe same answers, as other projects score them, times 100. Their quirks are in "
            f"`docs/protocols.md`.\n\n{Table(header, tuple(rows), num_left=5)}"
        )


def _comparison_parts(comparisons: Sequence[Comparison]) -> Iterator[str]:
    if not comparisons:
        return
    yield (
        "## Compared question by question\n\n"
        "The difference has a 95% interval and a p-value by a paired bootstrap over images. Where a figure is a share "
        "of the questions, gained and lost are the questions that only the second or only the first answers right, "
        f"with the p-value of McNemar's exact test. `{_COMPARISONS}` has all figures. Nothing is corrected for the "
        "number of comparisons."
    )
    header = ("compared", "task", "figure", "first", "second", *CHANGE_COLUMNS)
    grouped: dict[tuple[str, str], list[Comparison]] = {}
    for one in comparisons:
        grouped.setdefault((one.dataset, one.before), []).append(one)
    for (dataset, before), some in grouped.items():
        rows = [_change_row(one.after, name, change) for one in some for name, change in one.main_changes.items()]
        title = f"### {as_markdown(dataset)}: compared with {as_markdown(before)}"
        yield f"{title}\n\n{Table(header, tuple(rows), num_left=3)}"


def _change_row(after: str, name: str, change: FigureChange) -> tuple[str, ...]:
    task, _, figure = name.rpartition(".")
    figures = value_cell(Value(change.before * 100)), value_cell(Value(change.after * 100))
    return (after, task, times_100_title(task, figure), *figures, *change_cells(change))


def _plot_parts(report: Report, plots: Sequence[str]) -> Iterator[str]:
    if not can_plot():
        yield f"## Plots\n\n{_NO_PLOTS}"
    elif plots:
        pictures = [f"{PLOTS[name]}:\n\n{image(Markdown(PLOTS[name]), f'plots/{name}.png')}" for name in plots]
        yield "## Plots\n\n" + "\n\n".join(pictures)
        if "quality_steps" not in plots:
            yield "Plots against steps and time need answers under several maximum numbers of denoising steps."


def _sheet_parts(sheets: Sequence[tuple[str, str]]) -> Iterator[str]:
    if sheets:
        pictures = [f"{as_markdown(title)}:\n\n{image(as_markdown(title), path)}" for title, path in sheets]
        yield (
            "## Sheets\n\nGreen boxes are right, red boxes are wrong, and blue boxes are objects that were missed, at "
            "an IoU of at least 0.5. Of several settings the one of the best main figures is drawn.\n\n"
            + "\n\n".join(pictures)
        )


def _figure_parts(report: Report) -> Iterator[str]:
    yield (
        "## Figures\n\nFigures are times 100; steps and errors of counts are not. What an answer that does not parse "
        "counts for is a matter of three rules, where there are boxes: it has none (strict), those of its boxes that "
        "are well-formed count, or it counts as one wrong box. Of other answers the strict rule is the only one: they "
        f"are wrong. `{_FIGURES}` has the same, not rounded."
    )
    for cell in report.cells:
        columns = [name for name in RULES if name in {end for row in figure_rows(cell) for end in row.values}]
        header = ["task", "figure", *(RULES[name] for name in columns), "parsed", "answers"]
        if cell.published:
            header.insert(-2, "paper")
        rows = []
        for row in figure_rows(cell):
            values = [value_cell(row.values.get(name)) for name in columns]
            if cell.published:
                published = cell.published.get(f"{row.task}.{row.figure}")
                values.append(value_cell(None if published is None else Value(published)))
            rows.append(
                (row.task.replace(".", ", "), row.title, *values, value_cell(row.parse_rate), f"{row.num_answers:,}")
            )
        title = f"### {as_markdown(cell.dataset)}: {as_markdown(cell.setting)}"
        yield f"{title}\n\n{Table(tuple(header), tuple(rows), num_left=2)}"


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="png")
    return buffer.getvalue()

# SPDX-License-Identifier: Apache-2.0
"""`geodit evaluate --report`: answers, tables, plots and pictures in a folder."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from geodit.cli.errors import CommandError
from geodit.cli.output import make_directory, to_json, write_output

if TYPE_CHECKING:
    import datasets

    from geodit.evaluation.answer_store import KeptAnswers
    from geodit.evaluation.report.comparisons import Comparison
    from geodit.evaluation.report.contents import Report, ReportCell
    from geodit.evaluation.suite_results import SuiteResult
    from geodit.evaluation.sweep import SweepResult


_RESULTS = "results.json"
_SUITE_TABLES = ("results.md", "results.csv")


def check_can_compare(folder: Path) -> None:
    """Check that a folder has answers to compare with, before any is given.

    Raises:
        CommandError: If it has none.
    """
    if not (folder / "answers").is_dir():
        raise CommandError(f"--compare-with {folder}: it has no answers; give the folder of a report")


def keep_answers(folder: Path, model_name: str) -> "KeptAnswers":
    """Make the folder of a report, and say by which processes its answers are given."""
    from datetime import timedelta

    from accelerate import PartialState

    from geodit.evaluation.answer_store import KeptAnswers

    make_directory(folder)
    # Processes wait for the slowest, which may have been given much more to do after a stop.
    processes = PartialState(timeout=timedelta(days=7))
    share = (processes.process_index, processes.num_processes)
    return KeptAnswers(folder, model_name, share, processes.wait_for_everyone)


def write_sweep_report(
    folder: Path,
    result: "SweepResult",
    load_dataset: "Callable[[int | None], datasets.Dataset]",
    compare_with: Path | None,
) -> None:
    """Write the report of a sweep.

    Args:
        folder: Of the report.
        result: With intervals.
        load_dataset: Gives the images of a seed of images.
        compare_with: Folder of another report.
    """
    from geodit.evaluation.report.contents import sweep_report

    rows = load_dataset(None if result.dataset_seeds is None else result.dataset_seeds[0])
    _write(folder, sweep_report(result), lambda cell: rows, compare_with, {_RESULTS: to_json(result.to_dict())})


def write_suite_report(folder: Path, result: "SuiteResult", compare_with: Path | None) -> None:
    """Write the tables and the report of a suite.

    Args:
        folder: Of the report.
        result: Of the suite.
        compare_with: Folder of another report.
    """
    from geodit.evaluation.report.contents import suite_report
    from geodit.evaluation.suite_tables import suite_csv, suite_markdown

    report = suite_report(result)
    rows = {name: cell.rows for name, cell in zip((one.name for one in report.cells), result.cells, strict=True)}

    def rows_of(cell: "ReportCell") -> "datasets.Dataset":
        found = rows[cell.name]
        assert found is not None  # a suite that was run has them
        return found

    tables = {
        _RESULTS: to_json(result.to_dict()),
        _SUITE_TABLES[0]: suite_markdown(result),
        _SUITE_TABLES[1]: suite_csv(result),
    }
    _write(folder, report, rows_of, compare_with, tables)


def _write(
    folder: Path,
    report: "Report",
    rows_of: "Callable[[ReportCell], datasets.Dataset]",
    compare_with: Path | None,
    tables: Mapping[str, str],
) -> None:
    from geodit.evaluation.report.writing import write_report

    comparisons = list(_comparisons(report, compare_with))
    write_report(folder, report, rows_of, comparisons)
    for name, text in tables.items():
        write_output(folder / name, text.encode())
    for name in _SUITE_TABLES:
        if name not in tables:
            (folder / name).unlink(missing_ok=True)  # of a report that was here before


def _comparisons(report: "Report", compare_with: Path | None) -> "Iterator[Comparison]":
    from geodit.evaluation.report.comparisons import compare_settings, compare_with_answers, read_other_answers

    if compare_with is not None:
        try:
            yield from compare_with_answers(report, read_other_answers(compare_with, report))
        except (OSError, ValueError) as error:
            raise CommandError(f"--compare-with {compare_with}: {error}") from error
    yield from compare_settings(report)

# SPDX-License-Identifier: Apache-2.0
"""A grid from beginning to end, with table, chart and profile."""

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from geodit.speed import runner
from geodit.speed.contestants import Contestant
from geodit.speed.plots import KIND_COLORS, draw_chart
from geodit.speed.runner import contestant_keys, run_speed_benchmark
from geodit.speed.tables import machine_line, point_tables
from geodit.speed.workloads import workload_grid


@pytest.fixture(scope="module")
def workloads():
    """One question and two, and another image."""
    grid = workload_grid(prefix_lengths=[21, 25], canvas_lengths=[4], steps=[2], questions=[1, 2], dtypes=["float32"])
    return grid[:3]


@pytest.fixture(scope="module")
def progress():
    return []


@pytest.fixture(scope="module")
def result(shape, workloads, progress):
    return run_speed_benchmark(
        shape,
        workloads,
        repeats=2,
        with_profile=True,
        progress=lambda description, done, total: progress.append((done, total)),
        command=["geodit", "benchmark"],
    )


def test_every_contestant_is_measured_at_every_point(result, workloads):
    assert [point.workload for point in result.points] == list(workloads)
    for point in result.points:
        left_out = {"compiled", "full-compiled", "full-graphed", "floor-graphed", "full-floor-graphed"}
        left_out |= {"graphed", "graphed-together", "graphed-apart"}
        keys = [key for key in contestant_keys(point.workload) if key not in left_out]
        assert [measurement.key for measurement in point.measurements] == keys
        assert all(len(measurement.runs) == 2 for measurement in point.measurements)
        assert {measurement.num_tokens for measurement in point.measurements if measurement.kind != "floor"} == {
            4 * point.workload.questions
        }


def test_work_is_counted_for_all(result):
    assert all(measurement.flops > 0 for point in result.points for measurement in point.measurements)


def test_progress_counts_all_runs(result, progress):
    # Each contestant counts once, warms up once and is timed twice.
    total = sum(len(point.measurements) for point in result.points) * 4
    assert progress == [(done, total) for done in range(1, total + 1)]


def test_the_table_names_every_contestant_and_its_work(result):
    for point in result.points:
        console = Console(width=200, file=io.StringIO())
        console.print(*point_tables(result, point))
        text = console.file.getvalue()
        for measurement in point.measurements:
            assert measurement.name in text
            assert measurement.work in text


def test_the_table_says_what_is_done_per_second(result):
    first, with_questions = result.points[:2]
    for point, lines in ((first, ["tokens", "images"]), (with_questions, ["tokens", "images", "questions"])):
        column = next(column for column in point_tables(result, point)[0].columns if column.header == "per second")
        for cell, measurement in zip(column.cells, point.measurements, strict=True):
            rates = point.rates(measurement)
            assert [line.split()[1] for line in cell.splitlines()] == lines
            assert float(cell.split()[0]) == pytest.approx(rates.tokens, rel=0.01)


def test_contestants_are_prepared_after_their_work_is_counted_and_before_they_are_timed(shape, workloads, monkeypatch):
    class Notes(Contestant):
        def run(self, mark):
            said.append("run")
            return torch.zeros(1, 4)

        def run_uncaptured(self):
            said.append("counted")
            return torch.zeros(1, 4)

        def prepare(self):
            said.append("prepared")

    said = []
    monkeypatch.setattr(runner, "make_contestants", lambda *args: [Notes("full", "full", "geodit", "nothing")])
    run_speed_benchmark(shape, workloads[:1], repeats=1, warmup=1)
    assert said == ["counted", "prepared", "run", "run"]


def test_columns_that_compare_nothing_are_left_out(result):
    first, with_questions = (
        " ".join(str(column.header) for table in point_tables(result, point) for column in table.columns)
        for point in result.points[:2]
    )
    assert "one by one" not in first
    assert "faster than\nreference" in first
    assert "reference" not in with_questions


def test_without_a_comparison_there_is_only_the_table_of_times(result):
    point = result.points[0]
    alone = replace(point, measurements=tuple(m for m in point.measurements if m.key == "prefix-cached"))
    assert len(point_tables(result, alone)) == 1


def test_no_word_is_broken_at_80_columns(result):
    for point in result.points:
        # Minutes and milliseconds, as on a slow machine: the widest cells there are.
        slow = tuple(
            replace(
                measurement,
                flops=measurement.flops * 10**9,
                runs=tuple(
                    replace(run, seconds=seconds, marks=dict.fromkeys(run.marks, 0.9876))
                    for run, seconds in zip(measurement.runs, (0.8123, 1234.5), strict=True)
                ),
            )
            for measurement in point.measurements
        )
        for table in point_tables(result, replace(point, measurements=slow)):
            console = Console(width=80, file=io.StringIO())
            console.print(table)
            lines = console.file.getvalue().splitlines()
            assert max(len(line) for line in lines) <= 80
            shown = {word for line in lines for word in line.split()}
            cells = [str(cell) for column in table.columns for cell in (column.header, *column.cells)]
            assert {word for cell in cells for word in cell.split()} <= shown


def test_figures_are_told_with_what_they_were_measured_on(result):
    line = machine_line(result)
    assert "shape test" in line
    assert "random weights" in line
    assert "1 of" in line


def test_the_chart_has_a_bar_for_each_kind(result):
    picture = draw_chart(result)
    colors = {color for _, color in picture.getcolors(picture.width * picture.height)}
    assert set(KIND_COLORS.values()) <= colors
    assert picture.height > draw_chart(replace(result, points=result.points[:1])).height


def test_the_profile_is_that_of_the_fastest_mode(result):
    best = result.points[0].fastest("geodit")
    assert result.profile.startswith(best.name)
    assert "aten::" in result.profile


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"contestants": ["fastest"]}, "there is no contestant fastest; there are full, "),
        ({"repeats": 0}, "but they are 0 and 1"),
        ({"warmup": -1}, "but they are 5 and -1"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_made(shape, workloads, options, message, monkeypatch):
    monkeypatch.setattr(runner, "build_model", None)
    with pytest.raises(ValueError, match=message):
        run_speed_benchmark(shape, workloads, **options)


def test_nothing_to_measure_is_an_error(shape):
    with pytest.raises(ValueError, match="no workload"):
        run_speed_benchmark(shape, [])


def test_contestants_are_chosen_by_what_their_keys_begin_with(shape, workloads):
    result = run_speed_benchmark(shape, workloads[:2], contestants=["autoregressive", "reference"], repeats=1)
    chosen = [[measurement.key for measurement in point.measurements] for point in result.points]
    peers = ["autoregressive-dynamic", "autoregressive-static"]
    assert chosen == [["reference", *peers], [*peers, "autoregressive-dynamic-apart"]]


def test_workloads_without_a_chosen_contestant_are_left_out(shape, workloads):
    result = run_speed_benchmark(shape, workloads[:2], contestants=["reference"], repeats=1)
    assert [point.workload for point in result.points] == [workloads[0]]


def test_a_contestant_that_stops_early_cannot_be_compared(shape, workloads, monkeypatch):
    class Lazy(Contestant):
        def run(self, mark):
            return self.output

    lazy = Lazy("full", "lazy", "geodit", "nothing")
    lazy.output = torch.zeros(1, 3)
    monkeypatch.setattr(runner, "make_contestants", lambda *args: [lazy])
    with pytest.raises(RuntimeError, match=r"lazy generated tokens of shape \(1, 3\), not \(1, 4\)"):
        run_speed_benchmark(shape, workloads[:1])

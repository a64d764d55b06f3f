# SPDX-License-Identifier: Apache-2.0
"""Processes that share a job, as `torchrun` and `accelerate launch` start them."""

import socket
import subprocess
from pathlib import Path

import pytest

from forked_programs import ForkedProgram, ForkedPrograms
from geodit.cli import job_runs
from scene_jobs import COMMAND, chunks_in, journal_of, predict_arguments, wait_until, write_scene


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif")


def start_ranks(programs: ForkedPrograms, arguments: list[list[str | Path]]) -> list[ForkedProgram]:
    """Start processes that know of each other; each has arguments of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(len(arguments)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        programs.start([COMMAND, *words], environment={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, words in enumerate(arguments)
    ]


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_two_processes_write_the_bytes_of_one(geodit, training_programs, scene, checkpoint, tmp_path):
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert geodit(*predict_arguments(scene, checkpoint, one)).exit_code == 0
    ranks = start_ranks(training_programs, [predict_arguments(scene, checkpoint, two)] * 2)
    wait_until(lambda: chunks_in(journal_of(two, 1)) > 0)  # the second process does its share
    first, second = (rank.wait() for rank in ranks)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert f"wrote {two}" in first.stdout
    assert second.stdout == ""
    assert two.read_bytes() == one.read_bytes()
    assert files_in(tmp_path) == {"scene.tif", "one.json", "two.json"}


def test_one_process_goes_on_where_two_were_killed(geodit, training_programs, scene, checkpoint, tmp_path):
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert geodit(*predict_arguments(scene, checkpoint, one)).exit_code == 0
    ranks = start_ranks(training_programs, [predict_arguments(scene, checkpoint, two)] * 2)
    wait_until(lambda: chunks_in(journal_of(two, 1)) > 0)
    for rank in ranks:
        rank.kill()
        rank.wait()
    assert geodit(*predict_arguments(scene, checkpoint, two, "--resume")).exit_code == 0
    assert two.read_bytes() == one.read_bytes()
    assert files_in(tmp_path) == {"scene.tif", "one.json", "two.json"}


def reported(ended: list[subprocess.CompletedProcess[str]]) -> list[str]:
    """What the processes say. torch warns of connections that ended; under a launcher they do not end so."""
    return [line for one in ended for line in one.stderr.splitlines() if line.startswith("geodit: ")]


@pytest.mark.parametrize("failing", [0, 1])
def test_a_process_that_fails_ends_the_job_with_one_error(training_programs, scene, checkpoint, tmp_path, failing):
    out = tmp_path / "out.json"
    arguments = [predict_arguments(scene, checkpoint, out) for _ in range(2)]
    arguments[failing][1] = tmp_path / "missing.tif"
    ended = [rank.wait() for rank in start_ranks(training_programs, arguments)]
    assert all(one.returncode for one in ended)
    (line,) = reported(ended)
    assert line.startswith("geodit: error: ")
    assert "missing.tif" in line
    assert not out.exists()


def test_an_error_of_all_processes_is_reported_once(training_programs, scene, checkpoint, tmp_path):
    arguments = predict_arguments(scene, checkpoint, tmp_path / "out.docx")
    ended = [rank.wait() for rank in start_ranks(training_programs, [arguments] * 2)]
    assert all(one.returncode for one in ended)
    (line,) = reported(ended)
    assert "unknown suffix .docx" in line


def test_a_killed_process_ends_the_job(training_programs, scene, checkpoint, tmp_path):
    out = tmp_path / "out.json"
    ranks = start_ranks(training_programs, [predict_arguments(scene, checkpoint, out)] * 2)
    wait_until(lambda: chunks_in(journal_of(out, 1)) > 0)
    ranks[1].kill()
    first = ranks[0].wait()
    ranks[1].wait()
    assert first.returncode == 1
    (line,) = reported([first])
    assert "another process of this job has ended before it was done: go on with --resume" in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("variables", "options", "reason"),
    [
        ({"WORLD_SIZE": "2"}, [], "WORLD_SIZE is 2, but RANK is not set: start the processes with torchrun"),
    ],
)
def test_half_a_launcher_is_named(geodit, monkeypatch, image, variables, options, reason):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert reason in geodit.fails("predict", image, "--task", "caption", *options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--resume"], "--resume goes on with the answers of a file: give --out"),
        (["--ray-workers", "2"], "--ray-workers is for --ray: give both"),
        (["--ray"], "--ray needs the package ray: pip install 'geodit[ray]'"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_work(geodit, image, monkeypatch, options, reason):
    monkeypatch.setattr(job_runs, "find_spec", lambda name: None)
    assert reason in geodit.fails("predict", image, "--task", "caption", *options)


def test_where_workers_run_is_for_the_cluster_to_say(geodit, image, monkeypatch):
    monkeypatch.setattr(job_runs, "find_spec", lambda name: name)
    line = geodit.fails("predict", image, "--task", "caption", "--ray", "--device", "cpu")
    assert "with --ray the cluster decides: leave out --device" in line

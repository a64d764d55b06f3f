# SPDX-License-Identifier: Apache-2.0
"""Runs that were cut off, and go on to the result that they would have had."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from forked_programs import ForkedPrograms
from full_disk import full_disk
from geodit.pipelines.answering import Inquiry
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.scene_pipeline import ScenePipeline
from geodit.pipelines.scenes import plan
from geodit.pipelines.scenes.job import SceneJob, Tiling
from geodit.pipelines.scenes.journal import find_journals, open_journal
from geodit.pipelines.scenes.objects import ModelName
from geodit.pipelines.scenes.plan import JobPlan
from scene_jobs import COMMAND, chunks_in, journal_of, predict_arguments, wait_until, write_scene

TILES = 5


class Jobs:
    """A job of one chunk per tile, which a model of red squares answers."""

    def __init__(self, pipe: GeoDiTPipeline, folder: Path, pixels: np.ndarray) -> None:
        image = folder / "scene.png"
        Image.fromarray(pixels).save(image)
        self.scenes = ScenePipeline(pipe, name=ModelName("red-squares"))
        job = SceneJob((str(image),), Inquiry("detect", ("ship",)), Tiling(64, 0.0), batch_size=1)
        self.plan = self.scenes.plan(job)
        assert len(self.plan.chunks()) == TILES
        self.model = pipe.model
        self.out = folder / "ships.json"
        self.whole = json.dumps(self.scenes.run(self.plan).to_document())
        with open_journal(self.out, self.scenes.fingerprint(self.plan)) as journal:
            self.scenes.answer(self.plan, journal=journal)
        (self.journal,) = find_journals(self.out)
        self.complete = self.journal.read_bytes()

    def resume(self) -> tuple[str, int]:
        """Go on, and return the result and the number of questions that were asked for it."""
        self.model.calls.clear()
        with open_journal(self.out, self.scenes.fingerprint(self.plan), resume=True) as journal:
            result = self.scenes.run(self.plan, journal=journal)
        return json.dumps(result.to_document()), sum(call["images"] for call in self.model.calls)


@pytest.fixture
def jobs(pipe, draw, tmp_path, monkeypatch) -> Jobs:
    monkeypatch.setattr(plan, "_QUESTIONS_PER_CHUNK", 1)
    boxes = [(64 * tile + 8, 10 + tile, 64 * tile + 40, 40) for tile in range(TILES - 1)]
    return Jobs(pipe, tmp_path, draw.scene(64, 64 * TILES, boxes))


few = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(share=st.floats(0, 1))
def test_a_journal_that_ends_anywhere_is_gone_on_from(jobs, share):
    kept = jobs.complete[: round(share * len(jobs.complete))]
    jobs.journal.write_bytes(kept)
    document, asked = jobs.resume()
    assert document == jobs.whole
    assert asked == TILES - max(0, kept.count(b"\n") - 1)
    assert jobs.journal.read_bytes() == jobs.complete


@few
@given(rest=st.binary(max_size=40).filter(lambda rest: b"\n" not in rest))
def test_what_a_crash_leaves_of_the_last_line_is_dropped(jobs, rest):
    *lines, _ = jobs.complete.splitlines(keepends=True)
    jobs.journal.write_bytes(b"".join(lines) + rest)
    assert jobs.resume() == (jobs.whole, 1)
    assert jobs.journal.read_bytes() == jobs.complete


@few
@given(owner=st.lists(st.integers(0, 3), min_size=TILES, max_size=TILES))
def test_what_several_processes_have_answered_is_gone_on_from(jobs, owner):
    header, *lines = jobs.complete.splitlines(keepends=True)
    files = [journal_of(jobs.out, process) for process in range(3)]
    for process, file in enumerate(files):
        file.write_bytes(
            header + b"".join(line for number, line in zip(owner, lines, strict=True) if number == process)
        )
    document, asked = jobs.resume()
    assert document == jobs.whole
    assert asked == owner.count(3)  # the chunks that nobody has
    for file in files[1:]:
        file.unlink()


def test_a_journal_of_another_job_says_what_is_different(jobs):
    other = JobPlan.make(
        SceneJob(jobs.plan.job.images, Inquiry("detect", ("plane",)), Tiling(64, 0.5)), side=64, look_at_all=True
    )
    with pytest.raises(
        ValueError, match=r"holds the answers of another job, with another batch_size, inquiry, tiling"
    ):
        open_journal(jobs.out, jobs.scenes.fingerprint(other), resume=True)
    assert jobs.journal.read_bytes() == jobs.complete


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"chunk": 1}', b'{"chunk": 9, "tiles": [{"number": "x"}]}', b"\xff", b""]
)
def test_a_damaged_journal_is_named_and_left_alone(jobs, line):
    damaged = jobs.complete.replace(b"\n", b"\n" + line + b"\n", 1)
    jobs.journal.write_bytes(damaged)
    with pytest.raises(
        ValueError, match=r"ships\.json\.answers\.jsonl is not a file of answers to go on from: delete"
    ):
        open_journal(jobs.out, jobs.scenes.fingerprint(jobs.plan), resume=True)
    assert jobs.journal.read_bytes() == damaged


def test_answers_of_an_earlier_run_are_not_overwritten_by_accident(jobs):
    with pytest.raises(ValueError, match="holds the answers of a run that did not end: go on from them with --resume"):
        open_journal(jobs.out, jobs.scenes.fingerprint(jobs.plan))
    assert jobs.journal.read_bytes() == jobs.complete


def test_only_files_that_are_journals_are_taken_for_them(tmp_path):
    out = tmp_path / "ships.gpkg"
    for ending in ("answers.jsonl", "answers-1.jsonl", "answers-12.jsonl", "answers-mine.jsonl", "answers-0.jsonl"):
        tmp_path.joinpath(f"ships.gpkg.{ending}").touch()
    tmp_path.joinpath("other.gpkg.answers.jsonl").touch()
    assert [path.name.removeprefix("ships.gpkg.") for path in find_journals(out)] == [
        "answers-1.jsonl", "answers-12.jsonl", "answers.jsonl",
    ]  # fmt: skip


def test_what_a_killed_run_left_of_its_result_is_removed(jobs):
    folder = jobs.out.parent
    left = [folder / f".ships.json-{'0f' * 16}", folder / ".ships.json-ab_c1234"]
    left[0].write_text("{")
    left[1].mkdir()
    (left[1] / "ships.json").write_text("{")
    others = [folder / f".planes.json-{'0f' * 16}", folder / ".ships.json-notes", folder / "ships.json.old"]
    for other in others:
        other.touch()
    jobs.resume()
    assert not [path for path in left if path.exists()]
    assert [path for path in others if path.exists()] == others


def test_a_full_disk_leaves_what_can_be_gone_on_from(jobs):
    two = b"".join(jobs.complete.splitlines(keepends=True)[:2])
    jobs.journal.write_bytes(two)
    message = (
        r"cannot write .*answers\.jsonl: File too large; the answers before are kept: go on from them with --resume"
    )
    with full_disk(len(two) + 100), pytest.raises(OSError, match=message):
        jobs.resume()
    assert jobs.journal.read_bytes() == two
    assert jobs.resume() == (jobs.whole, TILES - 1)


def test_a_disk_that_is_full_from_the_start_leaves_nothing(jobs):
    jobs.journal.unlink()
    with full_disk(100), pytest.raises(OSError, match=r"cannot write .*answers\.jsonl: File too large$"):
        open_journal(jobs.out, jobs.scenes.fingerprint(jobs.plan))
    assert [path.name for path in jobs.out.parent.iterdir()] == ["scene.png"]


CHUNKS = 6


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", chunks=CHUNKS)


@pytest.mark.parametrize(("suffix", "kills"), [(".gpkg", 5), (".geojson", 2), (".json", 2)])
def test_kills_do_not_change_the_result(
    geodit, training_programs: ForkedPrograms, scene, checkpoint, tmp_path, suffix, kills
):
    pytest.importorskip("geopandas")
    plain, killed = tmp_path / "plain" / f"ships{suffix}", tmp_path / "killed" / f"ships{suffix}"
    for out in (plain, killed):
        out.parent.mkdir()
    finished = geodit(*predict_arguments(scene, checkpoint, plain))
    assert finished.exit_code == 0, finished.stderr
    draw = random.Random(suffix)
    moments = sorted(draw.choices(range(CHUNKS), k=kills))  # chunks that are done when it happens
    for moment in moments:
        # The first run has nothing to go on from, and may be told to.
        program = training_programs.start([COMMAND, *predict_arguments(scene, checkpoint, killed, "--resume")])
        journal = journal_of(killed)
        wait_until(lambda journal=journal, moment=moment: journal.exists() and chunks_in(journal) >= moment)
        program.kill()
        assert program.wait().returncode == -signal.SIGKILL
        assert not killed.exists()
    finished = training_programs.run([COMMAND, *predict_arguments(scene, checkpoint, killed, "--resume")])
    assert finished.returncode == 0, finished.stderr
    assert killed.read_bytes() == plain.read_bytes()
    assert [path.name for path in killed.parent.iterdir()] == [killed.name]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on(training_programs: ForkedPrograms, scene, checkpoint, tmp_path, number):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here, and so in the programs that are started")
    out = tmp_path / "ships.json"
    program = training_programs.start([COMMAND, *predict_arguments(scene, checkpoint, out)])
    wait_until(lambda: chunks_in(journal_of(out)) >= 1)
    program.send_signal(number)
    stopped = program.wait()
    assert stopped.returncode == 128 + number
    assert stopped.stdout == ""
    assert stopped.stderr == (
        f"geodit: error: interrupted: the answers so far are in {journal_of(out)}; go on from them with the same "
        "command and --resume\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == [journal_of(out).name]


def test_one_run_at_a_time_writes_a_result(geodit, training_programs: ForkedPrograms, scene, checkpoint, tmp_path):
    out = tmp_path / "ships.json"
    program = training_programs.start([COMMAND, *predict_arguments(scene, checkpoint, out)])
    wait_until(lambda: chunks_in(journal_of(out)) >= 1)
    try:
        for more in ([], ["--resume"]):
            line = geodit.fails(*predict_arguments(scene, checkpoint, out, *more))
            assert f"another process writes to {out} (process {program.pid} on " in line
    finally:
        finished = program.wait()
    assert finished.returncode == 0, finished.stderr
    assert [path.name for path in tmp_path.iterdir()] == [out.name]

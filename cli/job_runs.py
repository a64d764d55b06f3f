# SPDX-License-Identifier: Apache-2.0
"""Running a job: in this process, in several that share it, or on a Ray cluster, and writing its result."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from geodit.cli.errors import CommandError
from geodit.cli.processes import Processes
from geodit.cli.scene_output import FormatName, write_result
from geodit.cli.tile_progress import TileProgress

if TYPE_CHECKING:
    from geodit.pipelines.merging import MergeOptions
    from geodit.pipelines.pipeline_spec import AnswererSpec
    from geodit.pipelines.scene_pipeline import ScenePipeline
    from geodit.pipelines.scenes.collecting import JobResult
    from geodit.pipelines.scenes.journal import Journal
    from geodit.pipelines.scenes.plan import JobPlan
    from geodit.pipelines.tile_answers import TileAnswers

_STDERR = 2

ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on from the answers of a run with the same --out that did not end.")
]
RayOption = Annotated[
    bool,
    typer.Option("--ray", help="Answer on a Ray cluster: that of RAY_ADDRESS, or one of this machine."),
]
RayWorkersOption = Annotated[
    int | None,
    typer.Option(
        "--ray-workers", min=1, help="Workers that each load the model; by default one per GPU, or else one per CPU."
    ),
]


@dataclass(frozen=True)
class Destination:
    """Where a result goes.

    Args:
        out: Its file; `None` if it is only shown.
        form: What a `.json` file holds.
        resume: Whether to go on from the answers of an earlier run.
    """

    out: Path | None
    form: FormatName | None = None
    resume: bool = False


@dataclass(frozen=True)
class RayWorkers:
    """Who answers on a Ray cluster.

    Args:
        spec: What each worker loads its model from.
        count: How many there are; `None` for as many as the cluster has room for.
    """

    spec: "AnswererSpec"
    count: int | None = None


def check_run(
    processes: Processes, *, out: Path | None, resume: bool, device: str | None, ray: bool, ray_workers: int | None
) -> None:
    """Check whether a job can be run in the way that the options say.

    Raises:
        CommandError: If it cannot.
    """
    if resume and out is None:
        raise CommandError("--resume goes on with the answers of a file: give --out")
    if ray_workers is not None and not ray:
        raise CommandError("--ray-workers is for --ray: give both")
    if ray and find_spec("ray") is None:
        raise CommandError("--ray needs the package ray: pip install 'geodit[ray]'")
    if device is not None and ray:
        raise CommandError("--device is for this process, but with --ray the cluster decides: leave out --device")
    if processes.count > 1 and out is None:
        raise CommandError("processes that share a job do so through files next to its result: give --out")
    if processes.count > 1 and ray:
        raise CommandError("--ray starts processes itself: start the command once, without a launcher")


def run_job(
    scenes: "ScenePipeline",
    plan: "JobPlan",
    merging: "MergeOptions",
    destination: Destination,
    processes: Processes,
    ray: RayWorkers | None = None,
) -> "tuple[JobResult, int] | None":
    """Run a job, or this process's share of it, and write the result, unless no image could be opened.

    Args:
        scenes: Who is asked.
        plan: The plan of the job.
        merging: How the detections of tiles are merged.
        destination: Where the result goes.
        processes: Those that share the job.
        ray: Who answers on a Ray cluster; `None` for this process.

    Returns:
        The result, and how many polygons are not in the file because they have no longitude and latitude. It is the
        first process that has them, the others return `None`.

    Raises:
        CommandError: If the result cannot be written.
        FileNotFoundError, ValueError, OSError: As [`ScenePipeline.run`].
    """
    out = destination.out
    if out is None:
        return scenes.collect(plan, _answer(scenes, plan, None, processes, ray), merging), 0
    with _shared_journal(scenes, plan, out, destination.resume, processes) as journal:
        answers = _answer(scenes, plan, journal, processes, ray)
        processes.wait()
        if not processes.is_first:
            return None
        result = scenes.collect(plan, answers or _all_answers(scenes, plan, out), merging)
        left_out = write_result(out, destination.form, result) if result.scenes else 0
        _forget_answers(out)
    return result, left_out


@contextlib.contextmanager
def _shared_journal(
    scenes: "ScenePipeline", plan: "JobPlan", out: Path, resume: bool, processes: Processes
) -> Iterator["Journal"]:
    """Open this process's journal. What is done already is the same to all processes."""
    from geodit.pipelines.scenes.journal import open_journal

    if not processes.is_first:
        processes.wait()  # The first one checks the files of an earlier run before others make theirs.
    with open_journal(out, scenes.fingerprint(plan), process=processes.index, resume=resume) as journal:
        if processes.is_first:
            processes.wait()
        processes.wait()  # Nobody adds answers while others still read.
        yield journal


def _answer(
    scenes: "ScenePipeline", plan: "JobPlan", journal: "Journal | None", processes: Processes, ray: RayWorkers | None
) -> "list[list[TileAnswers]]":
    """Return the answers of all chunks; of several processes, none: they are in the journals."""
    if processes.count > 1:
        assert journal is not None
        left = [chunk for chunk in plan.chunks() if chunk.number not in journal.done]
        share = left[processes.index :: processes.count]
        with TileProgress() as progress:
            scenes.answer(plan, share, journal=journal, progress=progress if processes.is_first else None)
        return []
    if ray is not None:
        with _quiet_ray(), TileProgress() as progress:
            from geodit.pipelines.ray import answer_on_ray

            return answer_on_ray(plan, ray.spec, journal=journal, workers=ray.count, progress=progress)
    with TileProgress() as progress:
        return scenes.answer(plan, journal=journal, progress=progress)


def _forget_answers(out: Path) -> None:
    """Delete the answers as they came, all of which are in the result."""
    from geodit.pipelines.scenes.journal import find_journals

    for path in find_journals(out):
        path.unlink()


def _all_answers(scenes: "ScenePipeline", plan: "JobPlan", out: Path) -> "Iterable[list[TileAnswers]]":
    """Return what all processes have answered."""
    from geodit.pipelines.scenes.journal import find_journals, read_journals

    return read_journals(find_journals(out), scenes.fingerprint(plan)).values()


@contextlib.contextmanager
def _quiet_ray() -> Iterator[None]:
    """Keep what Ray says of lost workers out of stdout, and what its libraries say of their own working out of stderr.

    The latter write to the descriptor of stderr, and to log files of Ray as well.
    """
    if not _is_descriptor(sys.stderr, _STDERR):
        with contextlib.redirect_stdout(sys.stderr):
            yield
        return
    sys.stderr.flush()
    shown = os.fdopen(os.dup(_STDERR), "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors, buffering=1)
    with shown, Path(os.devnull).open("w") as nothing:
        os.dup2(nothing.fileno(), _STDERR)
        try:
            with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(shown):
                yield
        finally:
            os.dup2(shown.fileno(), _STDERR)


def _is_descriptor(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, ValueError):
        return False  # a stream in memory

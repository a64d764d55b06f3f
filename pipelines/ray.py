# SPDX-License-Identifier: Apache-2.0
"""Scene jobs on a Ray cluster: workers that hold the model answer the chunks of a plan. Needs `geodit[ray]`."""

from __future__ import annotations

import contextlib
import copy
import logging
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field

import ray
import ray.data
from ray.actor import ActorHandle
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError

from geodit.pipelines.answering import AnswererLostError, ImageAnswerer
from geodit.pipelines.chunk_tries import ChunkTries
from geodit.pipelines.pipeline_spec import AnswererSpec
from geodit.pipelines.scenes.job import SceneJob
from geodit.pipelines.scenes.journal import Journal
from geodit.pipelines.scenes.plan import Chunk, ImageFacts, JobImages, JobPlan, answer_chunk
from geodit.pipelines.tile_answers import TileAnswers

__all__ = ["answer_on_ray"]

# Ray asks for a chunk again whenever its worker is lost. One that ends every worker, such as by using up its memory,
# must not go on forever.
_MAX_TRIES = 4
# Each block of a data set is an object in the cluster.
_MAX_BLOCKS = 10_000


@dataclass(frozen=True)
class _Asked:
    """A chunk on its way to a worker. An object is one value to Ray, where a tuple would become an array."""

    chunk: Chunk


@dataclass(frozen=True)
class _Answered:
    """What a worker has to say of a chunk: its answers, or the error that one process would have ended with."""

    number: int
    tiles: list[TileAnswers] = field(default_factory=list)
    images: dict[int, ImageFacts] = field(default_factory=dict)
    error: Exception | None = None


@dataclass(frozen=True)
class _Share:
    """What each worker gets of the cluster."""

    workers: int
    cpus: int
    gpus: int

    @classmethod
    def find(cls, nodes: list[Mapping[str, float]], workers: int | None, num_gpus: int = 1) -> _Share:
        """Divide a cluster among workers.

        Args:
            nodes: CPUs and GPUs of each machine, under Ray's names.
            workers: How many; by default as many as there are GPUs for or, where there are none, one per CPU.
            num_gpus: GPUs of one machine that each worker takes, where there are any.

        Raises:
            ValueError: If there are fewer GPUs, or CPUs, than workers need.
        """
        gpus = sum(int(node.get("GPU", 0)) // num_gpus for node in nodes)
        if not gpus and any(node.get("GPU", 0) >= 1 for node in nodes):
            raise ValueError(f"no machine of the Ray cluster has the {num_gpus} GPUs that a worker takes")
        cpus = [int(node.get("CPU", 0)) for node in nodes if not gpus or node.get("GPU", 0) >= 1]
        most = gpus or sum(cpus)
        wanted = most if workers is None else workers
        if not 1 <= wanted <= most:
            what = "GPUs" if gpus else "CPUs"
            each_takes = "one" if num_gpus == 1 or not gpus else str(num_gpus)
            there = most * (num_gpus if gpus else 1)
            raise ValueError(
                f"{wanted} workers do not fit into a Ray cluster with {there} {what}: each takes {each_takes}, give 1 "
                f"to {most}"
            )
        if gpus:
            return cls(wanted, 1, num_gpus)
        # As many CPUs each as leave room for all of them on their machines.
        each = next(each for each in range(sum(cpus) // wanted, 0, -1) if sum(one // each for one in cpus) >= wanted)
        return cls(wanted, each, 0)


class _Worker:
    """Answers chunks; Ray makes one object of the class per worker.

    Args:
        spec: What the answerer is loaded from.
        job: The job.
        tries: Handle of an actor [`ChunkTries`].
    """

    def __init__(self, spec: AnswererSpec, job: SceneJob, tries: ActorHandle) -> None:
        self._spec = spec
        self._job = job
        self._tries = tries
        self._answerer: ImageAnswerer | None = None
        self._images = JobImages(job)

    def __call__(self, row: dict[str, _Asked]) -> dict[str, _Answered]:
        chunk = row["chunk"].chunk
        reason = ""
        while True:
            try:
                if ray.get(self._tries.begin.remote(chunk.number)) > _MAX_TRIES:
                    raise RuntimeError(
                        f"{_MAX_TRIES} workers in a row were lost with chunk {chunk.number} of the job{reason}"
                    )
                if self._answerer is None:  # loaded here and not in __init__, whose errors Ray would not hand over
                    self._answerer = self._spec.load_answerer()
                tiles, images = answer_chunk(self._answerer, self._job, chunk, images=self._images)
            except AnswererLostError as error:  # as if this process had been lost, which only held it
                self._answerer, reason = None, f": {error}"
            except Exception as error:
                return {"answer": _Answered(chunk.number, error=_sendable(error))}
            else:
                return {"answer": _Answered(chunk.number, tiles, images)}


def answer_on_ray(
    plan: JobPlan,
    spec: AnswererSpec,
    *,
    journal: Journal | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[list[TileAnswers]]:
    """Answer all chunks of a job on a Ray cluster.

    The cluster is the one that Ray is connected to. If it is to none, `ray.init` decides: a cluster that the
    environment names or that runs on this machine, otherwise one of this machine alone that ends with this function.
    All machines need geodit, and the files of the job and of the model under the same paths.

    Example:
        >>> from geodit import ScenePipeline
        >>> from geodit.pipelines.pipeline_spec import PipelineSpec
        >>> from geodit.pipelines.ray import answer_on_ray
        >>> spec = PipelineSpec("geodit-tiny")
        >>> scenes = ScenePipeline(spec.load("cpu"))
        >>> plan = scenes.plan(job)
        >>> result = scenes.collect(plan, answer_on_ray(plan, spec))

    Args:
        plan: The plan of the job. What becomes known of its images is noted there.
        spec: What each worker loads its model from: a [`PipelineSpec`], or one of another engine.
        journal: Where answers go as they come. Chunks that are there already are not asked for again.
        workers: How many workers; by default one per GPU of the cluster or, where there are none, one per CPU.
        progress: Called with the number of tiles done and of all tiles.

    Returns:
        The answers of each chunk in the order of their numbers, for [`ScenePipeline.collect`].

    Raises:
        FileNotFoundError, ValueError: As [`answer_chunk`], or if so many workers do not fit into the cluster.
        OSError: If the journal cannot be written.
        RuntimeError: If the cluster could not finish the job, such as if a chunk ends each worker that it is given to.
    """
    chunks = plan.chunks()
    total = sum(len(chunk.tiles) for chunk in chunks)
    found = {} if journal is None else {chunk.number: journal.done.get(chunk.number) for chunk in chunks}
    answers = {number: tiles for number, tiles in found.items() if tiles is not None}
    done = sum(len(tiles) for tiles in answers.values())
    if progress is not None and done:
        progress(done, total)
    asked = [chunk for chunk in chunks if chunk.number not in answers]
    with contextlib.closing(_ask(asked, plan.job, spec, workers)) as arriving:
        for answered in arriving:
            if answered.error is not None:
                raise answered.error
            if journal is not None:
                journal.add(answered.number, answered.tiles)
            answers[answered.number] = answered.tiles
            plan.images.update(answered.images)
            done += len(answered.tiles)
            if progress is not None:
                progress(done, total)
    return [answers[chunk.number] for chunk in chunks]


def _ask(
    chunks: list[Chunk], job: SceneJob, spec: AnswererSpec, workers: int | None
) -> Generator[_Answered, None, None]:
    """Yield what the workers answer, in the order in which they are ready."""
    if not chunks:
        return
    with _cluster(), _quiet_data():
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        share = _Share.find(nodes, workers, spec.num_gpus)
        tries = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(ChunkTries).remote()
        rows = (
            ray.data.from_items(
                [{"chunk": _Asked(chunk)} for chunk in chunks], override_num_blocks=min(len(chunks), _MAX_BLOCKS)
            )
            .map(
                _Worker,
                fn_constructor_args=(spec, job, tries),
                compute=ActorPoolStrategy(size=min(share.workers, len(chunks))),
                num_cpus=share.cpus,
                num_gpus=share.gpus,
            )
            .iter_rows()
        )
        try:
            for row in rows:
                yield row["answer"]
        except RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise RuntimeError(f"the Ray cluster could not finish the job: {lines[-1]}") from error


@contextlib.contextmanager
def _cluster() -> Iterator[None]:
    """Connect to a cluster, unless there is a connection, and end what was begun for it."""
    if ray.is_initialized():
        yield
        return
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if is_main else None
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        if is_main:
            signal.signal(signal.SIGTERM, handler)  # Ray has put its own in the place.
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _quiet_data() -> Iterator[None]:
    """Let Ray Data say nothing but errors, as the caller is told of the progress, and end at the first lost chunk."""
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = 0
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with DataContext.current(context):
            yield
    finally:
        logger.setLevel(level)


def _sendable(error: Exception) -> Exception:
    """Return an error, or what it says if it cannot be made again elsewhere."""
    try:
        return copy.copy(error)
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")

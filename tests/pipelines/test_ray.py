# SPDX-License-Identifier: Apache-2.0
"""Jobs on a Ray cluster of two workers on this machine."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from geodit.configuration.decoding_options import DecodingOptions
from geodit.pipelines.answering import AnswererLostError, ImageAnswerer, Inquiry
from geodit.pipelines.chunk_tries import ChunkTries
from geodit.pipelines.pipeline_spec import PipelineSpec
from geodit.pipelines.scene_pipeline import ScenePipeline
from geodit.pipelines.scenes import plan as planning
from geodit.pipelines.scenes.job import SceneJob, Tiling
from geodit.pipelines.scenes.journal import find_journals, open_journal, read_journals
from geodit.pipelines.scenes.plan import JobPlan

ray = pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")

from geodit.pipelines.ray import _MAX_TRIES, _Asked, _Share, _Worker, answer_on_ray  # noqa: E402

CHUNKS = 6
SPEC = PipelineSpec("geodit-tiny")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def scenes() -> ScenePipeline:
    return ScenePipeline(SPEC.load("cpu"))


@pytest.fixture
def plan(scenes, tmp_path, monkeypatch) -> JobPlan:
    """Six chunks of one tile."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64 * CHUNKS, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "scene.png")
    monkeypatch.setattr(planning, "_QUESTIONS_PER_CHUNK", 1)
    inquiry = Inquiry("detect", ("ship",), options=DecodingOptions(max_denoising_steps=2))
    plan = scenes.plan(SceneJob((str(tmp_path / "scene.png"),), inquiry, Tiling(64, 0.0), batch_size=1))
    assert len(plan.chunks()) == CHUNKS
    return plan


def kill_workers() -> int:
    """Kill the processes that answer chunks, and count them."""
    running = [
        process for process in psutil.Process().children(recursive=True) if "MapWorker" in " ".join(process.cmdline())
    ]
    for process in running:
        os.kill(process.pid, signal.SIGKILL)
    return len(running)


def test_killed_workers_do_not_change_the_result(cluster, scenes, plan, tmp_path):
    whole = json.dumps(scenes.run(plan).to_document())
    out, killed, told = tmp_path / "ships.json", [], []

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 2:  # the first is of what was there before
            killed.append(kill_workers())

    with open_journal(out, scenes.fingerprint(plan)) as journal:
        scenes.answer(plan, plan.chunks()[:1], journal=journal)
    with open_journal(out, scenes.fingerprint(plan), resume=True) as journal:
        answers = answer_on_ray(plan, SPEC, journal=journal, workers=2, progress=progress)
    assert json.dumps(scenes.collect(plan, answers).to_document()) == whole
    assert killed[0] >= 1
    size = len(plan.chunks()[0].tiles)
    assert told == [(done * size, CHUNKS * size) for done in range(1, CHUNKS + 1)]
    in_journal = read_journals(find_journals(out), scenes.fingerprint(plan))
    assert [in_journal[number] for number in range(CHUNKS)] == answers


def test_an_error_is_that_of_one_process(cluster, geodit, image):
    image.write_bytes(image.read_bytes()[:1000])
    arguments = ("predict", image, "--task", "caption", "--max-denoising-steps", 1)
    assert geodit.fails(*arguments, "--ray", "--ray-workers", 1) == geodit.fails(*arguments)


def test_a_chunk_that_ends_every_worker_is_given_up(cluster, plan):
    tries = ray.remote(num_cpus=0)(ChunkTries).remote()
    chunk = plan.chunks()[1]
    for _ in range(_MAX_TRIES):
        ray.get(tries.begin.remote(chunk.number))
    answered = _Worker(SPEC, plan.job, tries)({"chunk": _Asked(chunk)})["answer"]
    assert isinstance(answered.error, RuntimeError)
    assert "workers in a row were lost with chunk 1 of the job" in str(answered.error)


class LosesItsFirst:
    """A spec whose first answerer is lost at its first chunk."""

    num_gpus = 1

    def __init__(self, answerer: ImageAnswerer) -> None:
        self.answerer = answerer
        self.loaded = 0

    def load_answerer(self) -> ImageAnswerer:
        self.loaded += 1
        return Lost(self.answerer.processor) if self.loaded == 1 else self.answerer


class Lost(ImageAnswerer):
    """An answerer whose engine has ended."""

    dtype = "float32"

    def answer(self, images, inquiry, batch_size=8):
        raise AnswererLostError("the engine has ended")


def test_an_answerer_whose_engine_has_ended_is_loaded_anew(cluster, scenes, plan):
    tries = ray.remote(num_cpus=0)(ChunkTries).remote()
    spec, chunk = LosesItsFirst(scenes.answerer), plan.chunks()[1]
    answered = _Worker(spec, plan.job, tries)({"chunk": _Asked(chunk)})["answer"]
    assert (answered.error, spec.loaded) == (None, 2)
    assert answered.tiles == scenes.answer(plan, [chunk])[0]
    assert ray.get(tries.begin.remote(chunk.number)) == 3


def test_answerers_that_are_lost_again_and_again_are_given_up(cluster, scenes, plan):
    tries = ray.remote(num_cpus=0)(ChunkTries).remote()
    spec = SimpleNamespace(num_gpus=1, load_answerer=lambda: Lost(scenes.answerer.processor))
    answered = _Worker(spec, plan.job, tries)({"chunk": _Asked(plan.chunks()[1])})["answer"]
    assert "workers in a row were lost with chunk 1 of the job: the engine has ended" in str(answered.error)


def test_what_does_not_fit_into_the_cluster_is_refused(cluster, plan):
    with pytest.raises(ValueError, match=r"3 workers do not fit into a Ray cluster with 2 CPUs: .* give 1 to 2"):
        answer_on_ray(plan, SPEC, workers=3)


@pytest.mark.parametrize(
    ("nodes", "workers", "share"),
    [
        ([{"CPU": 8.0}], None, _Share(8, 1, 0)),
        ([{"CPU": 8.0}], 2, _Share(2, 4, 0)),
        ([{"CPU": 10.0}, {"CPU": 6.0}], 2, _Share(2, 6, 0)),
        ([{"CPU": 10.0}, {"CPU": 6.0}], 3, _Share(3, 5, 0)),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 64.0}], None, _Share(2, 1, 1)),
        ([{"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}], 1, _Share(1, 1, 1)),
        ([{}, {"CPU": 1.0}], None, _Share(1, 1, 0)),
    ],
)
def test_the_cluster_is_divided_among_workers(nodes, workers, share):
    assert _Share.find(nodes, workers) == share


def test_a_worker_may_take_several_gpus_of_one_machine():
    nodes = [{"CPU": 8.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 3.0}]
    assert _Share.find(nodes, None, 2) == _Share(3, 1, 2)
    with pytest.raises(ValueError, match="4 workers do not fit into a Ray cluster with 6 GPUs: each takes 2"):
        _Share.find(nodes, 4, 2)
    with pytest.raises(ValueError, match="no machine of the Ray cluster has the 8 GPUs"):
        _Share.find(nodes, None, 8)
    assert _Share.find([{"CPU": 4.0}], 2, 2) == _Share(2, 2, 0)


@pytest.mark.parametrize("workers", [0, 3])
def test_workers_need_a_gpu_each_where_there_are_some(workers):
    with pytest.raises(ValueError, match="with 2 GPUs: each takes one, give 1 to 2"):
        _Share.find([{"CPU": 64.0, "GPU": 2.0}], workers)


def test_a_cluster_without_processors_has_no_workers():
    with pytest.raises(ValueError, match="0 workers do not fit"):
        _Share.find([{}], None)

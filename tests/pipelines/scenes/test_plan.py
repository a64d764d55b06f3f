# SPDX-License-Identifier: Apache-2.0
"""The tiles of a job, in chunks that are the same whoever answers them, and whenever."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from geodit.data.windows import Window
from geodit.pipelines.answering import Inquiry
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.pipelines.scenes.job import SceneJob, Tiling
from geodit.pipelines.scenes.plan import JobPlan, answer_chunk
from geodit.pipelines.scenes.run import run_chunks
from geodit.rasters.imagery import open_image

SIDE = 64
SHIP = Inquiry("detect", ("ship",))
IN_TILES = Tiling(SIDE, 0.0)  # six of a scene


def job_of(*images: object, **options: Any) -> SceneJob:
    return SceneJob(tuple(map(str, images)), **({"inquiry": SHIP, "tiling": IN_TILES} | options))


def boxes_in(answers: list[Any]) -> list[tuple[float, ...]]:
    return [one.box for tile in answers for answer in tile.answers for one in answer.detections]


def test_tiles_of_all_images_are_counted_on(write_scene: Any) -> None:
    plan = JobPlan.make(job_of(write_scene("a.tif"), write_scene("b.tif")), SIDE)
    assert [tile.number for tile in plan.tiles] == list(range(12))
    assert [tile.image for tile in plan.tiles] == [0] * 6 + [1] * 6
    assert plan.images[0].image_size == (128, 160)
    assert plan.images[1].georeference is not None


@pytest.mark.parametrize(
    ("batch_size", "queries", "size"), [(8, 1, 64), (8, 2, 32), (8, 10, 8), (48, 1, 48), (100, 1, 100), (6, 3, 18)]
)
def test_chunks_hold_whole_batches_and_few_questions(
    write_scene: Any, batch_size: int, queries: int, size: int
) -> None:
    inquiry = Inquiry("detect", tuple(f"class {number}" for number in range(queries)))
    plan = JobPlan.make(job_of(write_scene(), tiling=Tiling(16, 0.5), inquiry=inquiry, batch_size=batch_size), SIDE)
    chunks = plan.chunks()
    assert [len(chunk.tiles) for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
    assert 0 < len(chunks[-1].tiles) <= size
    assert [tile for chunk in chunks for tile in chunk.tiles] == list(plan.tiles)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))


def test_a_chunk_is_answered_alike_whatever_was_asked_before(pipe: GeoDiTPipeline, write_scene: Any) -> None:
    plan = JobPlan.make(job_of(write_scene(), tiling=Tiling(16, 0.5), batch_size=8), SIDE)
    chunks = plan.chunks()
    assert len(chunks) > 2
    in_order = [answer_chunk(pipe.answerer, plan.job, chunk)[0] for chunk in chunks]
    backwards = [answer_chunk(pipe.answerer, plan.job, chunk)[0] for chunk in reversed(chunks)]
    assert in_order == backwards[::-1]


def test_a_whole_image_is_opened_when_its_turn_has_come(pipe: GeoDiTPipeline, write_scene: Any) -> None:
    job = job_of(write_scene(), "missing.tif", tiling=Tiling(), keep_going=True)
    plan = JobPlan.make(job, SIDE)
    assert plan.images == {}
    assert [tile.place for tile in plan.tiles] == [None, None]
    (scene, missing), facts = answer_chunk(pipe.answerer, job, plan.chunks()[0])
    assert facts[0].image_size == (128, 160)
    assert (scene.status, scene.window) == ("answered", Window(0, 0, 128, 160))
    assert missing.status == "unreadable"
    assert "there is no image missing.tif" in missing.error


def test_whole_images_are_looked_at_first_if_so_asked(write_scene: Any) -> None:
    plan = JobPlan.make(job_of(write_scene(), tiling=Tiling()), SIDE, look_at_all=True)
    assert plan.images[0].image_size == (128, 160)
    with pytest.raises(FileNotFoundError, match=r"missing\.tif"):
        JobPlan.make(job_of("missing.tif", tiling=Tiling()), SIDE, look_at_all=True)


def test_an_image_that_cannot_be_opened_ends_the_job_or_is_named(write_scene: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"hello")
    job = job_of(broken, write_scene())
    with pytest.raises(ValueError, match=r"broken\.tif"):
        JobPlan.make(job, SIDE)
    plan = JobPlan.make(replace(job, keep_going=True), SIDE)
    assert list(plan.failures) == [0]
    assert "broken.tif" in plan.failures[0]
    assert [tile.image for tile in plan.tiles] == [1] * 6


def test_an_image_that_cannot_be_cut_is_named(write_scene: Any, tmp_path: Path) -> None:
    plain = write_scene("plain.tif", placed=False, crs=None, transform=None)
    with pytest.raises(ValueError, match=r"plain\.tif: it has no place on Earth"):
        JobPlan.make(job_of(plain, tiling=Tiling(SIDE, gsd=0.5)), SIDE)


def test_an_image_that_is_gone_after_the_plan(pipe: GeoDiTPipeline, write_scene: Any) -> None:
    first, second = write_scene("a.tif"), write_scene("b.tif")
    plan = JobPlan.make(job_of(first, second), SIDE)
    first.unlink()
    (chunk,) = plan.chunks()
    with pytest.raises(FileNotFoundError, match=r"a\.tif"):
        answer_chunk(pipe.answerer, plan.job, chunk)
    known, facts = answer_chunk(pipe.answerer, replace(plan.job, keep_going=True), chunk)
    assert [tile.status for tile in known] == ["unreadable"] * 6 + ["answered"] * 6
    assert all("a.tif" in tile.error for tile in known[:6])
    assert [tile.window for tile in known[:6]] == [tile.place.window for tile in plan.tiles[:6] if tile.place]
    assert list(facts) == [1]


def test_images_of_different_places_are_answered_in_their_own_pixels(pipe: GeoDiTPipeline, write_scene: Any) -> None:
    job = job_of(write_scene("a.tif", [(10, 12, 30, 28)]), write_scene("b.tif", [(40, 12, 60, 28)], crs="EPSG:32633"))
    known, facts = answer_chunk(pipe.answerer, job, JobPlan.make(job, SIDE).chunks()[0])
    first, second = boxes_in(known)
    assert first == pytest.approx((10, 12, 30, 28), abs=0.51)
    assert second == pytest.approx((40, 12, 60, 28), abs=0.51)
    assert [fact.georeference.crs for fact in facts.values() if fact.georeference] == ["EPSG:32617", "EPSG:32633"]


def test_boxes_of_a_resampled_raster_are_in_its_own_pixels(pipe: GeoDiTPipeline, write_scene: Any) -> None:
    """Pixels of half a meter, seen at one meter: a tile of 64 shows 128 of them."""
    job = job_of(write_scene(squares=[(20, 40, 60, 80)]), tiling=Tiling(SIDE, 0.0, gsd=1.0))
    known, _ = answer_chunk(pipe.answerer, job, JobPlan.make(job, SIDE).chunks()[0])
    whole, part = boxes_in(known)
    assert whole == pytest.approx((20, 40, 60, 80), abs=1.01)
    assert part == pytest.approx((32, 40, 60, 80), abs=1.01)  # the second tile begins there


def test_only_tiles_in_the_area_of_interest_are_asked_about(write_scene: Any, write_area: Any) -> None:
    job = job_of(write_scene(), tiling=Tiling(SIDE, 0.0, aoi=write_area((70, 10, 80, 20))))
    assert [tile.place.window for tile in JobPlan.make(job, SIDE).tiles if tile.place] == [Window(0, 64, SIDE, SIDE)]


def test_an_area_of_interest_may_lie_in_one_of_several_images(write_scene: Any, write_area: Any) -> None:
    elsewhere = write_scene("elsewhere.tif", crs="EPSG:32633")
    tiling = Tiling(SIDE, 0.0, aoi=write_area((70, 10, 80, 20)))
    plan = JobPlan.make(job_of(elsewhere, write_scene("here.tif"), tiling=tiling), SIDE)
    assert [tile.image for tile in plan.tiles] == [1]
    assert sorted(plan.images) == [0, 1]


def test_an_area_of_interest_that_touches_no_image_is_a_mistake(write_scene: Any, write_area: Any) -> None:
    tiling = Tiling(SIDE, aoi=write_area((5000, 5000, 5010, 5010)))
    with pytest.raises(ValueError, match=r"area\.gpkg touches no image: check its coordinates"):
        JobPlan.make(job_of(write_scene(), tiling=tiling), SIDE)


def test_what_was_not_understood_is_asked_again_with_a_step_a_token(
    broken_model: Any, processor: Any, device: Any, write_scene: Any
) -> None:
    answerer = GeoDiTPipeline(broken_model, processor, device).answerer
    job = job_of(write_scene(), tiling=Tiling(), retry_unparsed=True)
    (known,), _ = answer_chunk(answerer, job, JobPlan.make(job, SIDE).chunks()[0])
    assert [call.get("max_denoising_steps") for call in broken_model.calls] == [
        None,
        processor.canvas_length("detect"),
    ]
    assert (known.answers[0].parsed, known.answers[0].attempts) == (False, 2)


def test_an_image_stays_open_from_chunk_to_chunk(
    pipe: GeoDiTPipeline, write_scene: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = JobPlan.make(job_of(write_scene("a.tif"), write_scene("b.tif"), tiling=Tiling(32, 0.5)), SIDE)
    opened: list[str] = []

    def counted(path: str, *args: Any, **options: Any) -> Any:
        opened.append(Path(path).name)
        return open_image(path, *args, **options)

    monkeypatch.setattr("geodit.pipelines.scenes.job.open_image", counted)
    answers = list(run_chunks(pipe.answerer, plan))
    assert len(answers) > 1
    assert opened == ["a.tif", "b.tif"]
    assert answers == [answer_chunk(pipe.answerer, plan.job, chunk)[0] for chunk in plan.chunks()]

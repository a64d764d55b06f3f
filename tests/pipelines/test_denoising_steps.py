# SPDX-License-Identifier: Apache-2.0
"""Each denoising step can be watched, and nothing more is computed for someone who has gone."""

from importlib.resources import files

import numpy as np
import pytest

import geodit
from geodit.pipelines.denoising_film import denoising_film, film_frames
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.rasters.imagery import read_image

SCENES = files("geodit") / "tiny" / "demo_scenes"
AIRPORT = str(SCENES / "airport.png")


@pytest.fixture(scope="module")
def pipe(device):
    return GeoDiTPipeline.from_pretrained(geodit.bundled_checkpoint(), device=device)


def watch(pipe, *question, **options):
    steps = []
    (prediction,) = pipe(AIRPORT, *question, step_callback=steps.append, return_denoising=True, **options)
    return steps, prediction


def test_steps_lead_to_the_answer(pipe):
    steps, prediction = watch(pipe, "detect", "vehicle")
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert steps[-1].denoising == prediction.denoising
    assert (steps[-1].boxes, steps[-1].labels) == (prediction.boxes, prediction.labels)
    assert steps[-1].scores == pytest.approx(prediction.scores)


def test_watching_changes_nothing(pipe):
    _, watched = watch(pipe, "detect", "vehicle", num_alternatives=3)
    assert watched == pipe(AIRPORT, "detect", "vehicle", return_denoising=True)[0]


@pytest.mark.parametrize("structured", [True, False])
def test_a_box_is_there_when_all_its_tokens_are(pipe, structured):
    steps, prediction = watch(pipe, "detect", "vehicle", structured=structured)
    assert prediction.boxes
    for step in steps:
        assert set(step.boxes) <= set(prediction.boxes)
        for start, stop in step.spans:
            assert "[M]" not in step.denoising.tokens[start:stop]
    assert [len(step.boxes) for step in steps] == sorted(len(step.boxes) for step in steps)


def test_a_token_stays_masked_until_its_step(pipe):
    steps, prediction = watch(pipe, "caption")
    for step in steps:
        for token, commit_step in zip(step.denoising.tokens, prediction.denoising.commit_steps, strict=True):
            assert (token == "[M]") == (commit_step >= step.number)


def test_the_alternatives_of_a_token_are_those_of_the_step_that_committed_it(pipe):
    steps, prediction = watch(pipe, "caption", num_alternatives=4)
    last = steps[-1].denoising
    for token, commit_step, confidence, alternatives in zip(
        last.tokens, last.commit_steps, last.confidences, last.alternatives, strict=True
    ):
        shares = [share for _, share in alternatives]
        assert len(shares) == 4
        assert shares == sorted(shares, reverse=True)
        if commit_step >= 0:
            assert alternatives[0][0] == token  # greedy
            assert shares[0] == pytest.approx(confidence, rel=1e-4)
    assert prediction.denoising.alternatives == ()


def test_they_are_as_many_as_asked_for(pipe):
    steps, _ = watch(pipe, "vqa", "How many vehicles are there?")
    assert steps[0].denoising.alternatives == ()
    assert "alternatives" not in steps[0].to_dict()
    steps, _ = watch(pipe, "vqa", "How many vehicles are there?", num_alternatives=10**6)
    assert len(steps[0].denoising.alternatives[0]) < 10**6
    with pytest.raises(ValueError, match="num_alternatives must be 0 or more, but is -1"):
        watch(pipe, "caption", num_alternatives=-1)


class GoneError(Exception):
    pass


def test_what_the_callback_raises_ends_the_computation(pipe, monkeypatch):
    runs = []
    core = pipe.model.model.language_model
    handle = core.register_forward_hook(lambda *_: runs.append(1))
    seen = []

    def leave(step):
        seen.append(step)
        if len(seen) == 2:
            raise GoneError

    try:
        with pytest.raises(GoneError):
            pipe(AIRPORT, "caption", step_callback=leave)
        after_two = len(runs)
        runs.clear()
        pipe(AIRPORT, "caption")
        assert after_two < len(runs)
    finally:
        handle.remove()


def test_one_image_as_a_whole(pipe):
    for images, options in (([AIRPORT, AIRPORT], {}), (AIRPORT, {"tile_size": 64})):
        with pytest.raises(ValueError, match="step_callback is for one image that is seen as a whole"):
            pipe(images, "detect", "vehicle", step_callback=print, **options)


def test_a_film(pipe):
    steps, prediction = watch(pipe, "detect", "vehicle")
    pixels = read_image(AIRPORT).pixels
    frames = film_frames(pixels, prediction.image_size, steps)
    assert len(frames) == len(steps) + 1
    assert len({frame.size for frame in frames}) == 1
    assert len({frame.tobytes() for frame in frames}) == len(frames)
    film = denoising_film(pixels, prediction.image_size, steps)
    assert film.startswith(b"GIF89a")
    assert denoising_film(pixels, prediction.image_size, steps) == film
    with pytest.raises(ValueError, match="there are no steps to show"):
        film_frames(pixels, prediction.image_size, [])


def test_a_film_that_nobody_waits_for(pipe):
    steps, prediction = watch(pipe, "detect", "vehicle")
    asked = []

    def check():
        asked.append(True)
        if len(asked) == 3:
            raise KeyError

    with pytest.raises(KeyError):
        denoising_film(read_image(AIRPORT).pixels, prediction.image_size, steps, check=check)
    assert len(asked) == 3 < len(steps)


def test_a_film_of_a_strip_is_small(pipe):
    steps, _ = watch(pipe, "detect", "vehicle")
    (first, *_) = film_frames(np.zeros((1, 4000, 3), np.uint8), (1, 4000), steps)
    assert max(first.size) < 2000

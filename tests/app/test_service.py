# SPDX-License-Identifier: Apache-2.0
"""What is shown is what the pipelines say."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from geodit.app.service import Service
from geodit.app.settings import Bands, Question, SceneSettings, decoding_options
from geodit.app.uploads import Uploads

BANDS, OPTIONS = Bands(), decoding_options(8)


@pytest.fixture
def service(models):
    service = Service(models, Uploads(10**6, 10**8))
    yield service
    service.close()


@pytest.fixture
def image(service, harbor):
    return str(service.uploads.add_example(harbor))


def documents(answers):
    return [document for document in answers if document is not None]


def picture_of(address):
    head, _, data = address.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64", "data:image/gif;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_preview(service, image, harbor):
    picture = service.preview(image, BANDS)["picture"]
    assert (picture["name"], picture["width"], picture["height"], picture["crs"]) == (
        "harbor.tif",
        96,
        96,
        "EPSG:32631",
    )
    assert picture_of(picture["src"]).size == (96, 96)
    one_band = service.preview(image, Bands.read("2", "p2,98"))["picture"]
    red, green, blue = np.asarray(picture_of(one_band["src"])).transpose(2, 0, 1)
    assert (red == green).all()
    assert (green == blue).all()


def test_the_answer_is_that_of_the_pipeline(service, image, harbor):
    *steps, last = documents(service.ask(image, Question("detect", "ship"), BANDS, OPTIONS))
    (expected,) = service.models["geodit-tiny"].pipeline(harbor, "detect", "ship", options=OPTIONS)
    assert last["prediction"] == expected.to_dict()
    assert [document["step"] for document in steps] == list(range(9))
    assert last["has_boxes"]


def test_choices_have_probabilities_and_a_text_has_no_coco(service, image):
    question = Question.read("vqa", "Is there a ship?", "yes, no")
    answer = documents(service.ask(image, question, BANDS, OPTIONS))[-1]
    assert set(answer["prediction"]["choice_probabilities"]) == {"yes", "no"}
    assert answer["coco"] is None
    (outline,) = answer["geojson"]["features"]
    assert outline["properties"]["label"] == answer["prediction"]["text"]
    assert outline["properties"]["p_yes"] == pytest.approx(answer["prediction"]["choice_probabilities"]["yes"])


def test_the_steps_and_their_film(service, image):
    *_, last, with_film = documents(service.watch(image, Question("detect", "ship"), BANDS, OPTIONS))
    steps = last["steps"]
    assert [step["number"] for step in steps] == list(range(1, len(steps) + 1))
    assert steps[-1]["boxes"] == last["prediction"]["boxes"]
    film = picture_of(with_film["gif"])
    assert film.n_frames == len(steps) + 1


def test_a_program_gets_no_pictures(service, image):
    for answers in (
        service.ask(image, Question("caption"), BANDS, OPTIONS, show=False),
        service.watch(image, Question("caption"), BANDS, OPTIONS, show=False),
        service.scene(image, [], "caption", BANDS, OPTIONS, SceneSettings(), show=False),
    ):
        for document in documents(answers):
            assert not {"picture", "gif", "map"} & set(document)


def test_a_scene_on_the_map(service, image):
    *_, last = documents(service.scene(image, ["ship", "tank"], "detect", BANDS, OPTIONS, SceneSettings(64)))
    assert last["done"] == last["total"] == 4
    assert last["name"] == "harbor.tif"
    (south, west), (north, east) = last["map"]["bounds"]
    assert picture_of(last["map"]["src"]).mode == "RGBA"
    assert last["geojson"]["features"]
    for feature in last["geojson"]["features"]:
        for longitude, latitude in feature["geometry"]["coordinates"][0]:
            assert west <= longitude <= east
            assert south <= latitude <= north
    assert last["coco"]["images"][0]["file_name"] == "harbor.tif"


def test_a_scene_is_asked_of_a_model(service, image):
    with pytest.raises(ValueError, match="this page has no model 'gpt'"):
        service.scene(image, ["ship"], "detect", BANDS, OPTIONS, SceneSettings(), model="gpt")
    answers = service.scene(image, ["ship"], "detect", BANDS, OPTIONS, SceneSettings(), model="the same", show=False)
    assert {one["properties"]["model"] for one in documents(answers)[-1]["geojson"]["features"]} == {"the same"}


def test_a_scene_without_a_place_is_shown_in_pixels(service, harbor):
    path = service.uploads.add_example(harbor.parent / "airport.png")
    *_, last = documents(service.scene(str(path), [], "caption", BANDS, OPTIONS, SceneSettings()))
    assert last["map"] is None
    assert last["picture"]["name"] == "airport.png"
    (outline,) = last["pixels"]
    assert outline["box"] == [0, 0, 96, 96]


@pytest.mark.parametrize(
    ("settings", "num_queries", "said"),
    [
        (SceneSettings(1), 3, "9,216 tiles and 3 queries are more than the 20,000 questions that a page asks at once"),
        (SceneSettings(), 33, "a scene is asked at most 32 queries at once, not 33"),
    ],
)
def test_a_scene_has_so_many_questions_at_most(service, image, settings, num_queries, said):
    with pytest.raises(ValueError, match=said):
        documents(service.scene(image, ["ship"] * num_queries, "detect", BANDS, OPTIONS, settings))


@pytest.mark.parametrize("values", [(None, 0.76, 0), (None, -0.1, 0), (8193, 0, 0), (float("nan"), 0, 0), ("9", 0, 0)])
def test_settings_that_no_slider_has_are_refused(values):
    with pytest.raises(ValueError, match=" is from 0 to "):
        SceneSettings.read(*values)


@pytest.mark.parametrize("values", [(65,), (0,), (float("inf"),), ("8",), (8, 1.1), (8, float("nan"))])
def test_decoding_that_no_slider_has_is_refused(values):
    with pytest.raises(ValueError, match=r" is from [01] to "):
        decoding_options(*values)


def test_a_question_has_so_many_choices_at_most():
    with pytest.raises(ValueError, match="at most 100 choices, not 101"):
        Question.read("vqa", "Which?", ["a"] * 101)
    with pytest.raises(ValueError, match="texts of at most 1,000 characters"):
        Question.read("vqa", "a" * 1001)


def test_the_model_that_is_asked(service, image):
    assert (
        documents(service.ask(image, Question("caption"), BANDS, OPTIONS, model="the same"))[-1]["model"] == "the same"
    )


@pytest.mark.parametrize(
    ("bands", "numbers"), [("", None), (None, None), ("4, 3,2", (4, 3, 2)), ("1", (1,)), ([3, 2, 1], (3, 2, 1))]
)
def test_bands_as_they_are_written(bands, numbers):
    assert Bands.read(bands, "auto").numbers == numbers


@pytest.mark.parametrize("bands", ["a", "0", "1,-2", "1;2"])
def test_bands_that_are_none(bands):
    with pytest.raises(ValueError, match="bands are one or three whole numbers from 1, such as 4,3,2"):
        Bands.read(bands, "auto")


def test_a_threshold_of_0_is_none():
    assert decoding_options(8, 0).confidence_threshold is None
    assert decoding_options(8, 0.5).confidence_threshold == 0.5

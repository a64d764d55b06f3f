# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from geodit.cli.demo import DemoAnswer, map_lines
from geodit.pipelines.prediction import Prediction
from geodit.rasters.georeference import GeoReference
from geodit.rasters.imagery import read_image

TASKS = {"caption", "ground", "detect", "vqa", "classify"}
SCENES = Path(str(files("geodit"))) / "tiny" / "demo_scenes"


@pytest.fixture(scope="module")
def scenes() -> list:
    return json.loads((SCENES / "scenes.json").read_text())["scenes"]


def test_demo_shows_every_question_and_writes_two_pictures(geodit, checkpoint, scenes, tmp_path):
    out = tmp_path / "new" / "pictures"
    result = geodit("demo", "--model", checkpoint, "--max-denoising-steps", 2, "--out", out)
    assert result.exit_code == 0, result.output
    for scene in scenes:
        assert scene["image"] in result.stdout
        assert all(question["query"] in result.stdout for question in scene["questions"])
    assert f"of {sum(len(scene['questions']) for scene in scenes)} right" in result.stdout
    for name in ("boxes.png", "denoising.png"):
        assert str(out / name) in result.stdout
        with Image.open(out / name) as picture:
            picture.verify()


WITHOUT_EXTRAS = """
import json, sys
sys.modules.update(dict.fromkeys(
    ["accelerate", "datasets", "evaluate", "faster_coco_eval", "matplotlib", "peft", "pycocoevalcap", "trl"]
))
from geodit.cli.main import app
for arguments in json.loads(sys.argv[1]):
    app(arguments, standalone_mode=False)
"""


def test_answering_needs_none_of_the_extras(checkpoint, tmp_path):
    overlay, pictures = tmp_path / "overlay.png", tmp_path / "pictures"
    commands = [
        ["predict", SCENES / "airport.png", "-t", "detect", "-q", "ship", "--overlay", overlay],
        ["demo", "--out", pictures],
    ]
    arguments = [
        [*map(str, command), "--model", str(checkpoint), "--max-denoising-steps", "2"] for command in commands
    ]
    run = [sys.executable, "-c", WITHOUT_EXTRAS, json.dumps(arguments)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert overlay.is_file()
    assert list(pictures.glob("*.png"))


def test_every_scene_is_asked_all_tasks(scenes):
    assert all({question["task"] for question in scene["questions"]} == TASKS for scene in scenes)


def test_one_scene_is_georeferenced_in_utm():
    pytest.importorskip("rasterio")
    references = [read_image(path).georeference for path in sorted(SCENES.glob("*.tif"))]
    assert [reference.crs for reference in references if reference] == ["EPSG:32631"]


def test_the_bundled_scenes_are_what_the_generator_makes(geodit, tmp_path):
    pytest.importorskip("rasterio")
    result = geodit("data", "demo-scenes", tmp_path)
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in SCENES.iterdir())
    for name in names:
        if name.endswith(".json"):
            assert json.loads((tmp_path / name).read_text()) == json.loads((SCENES / name).read_text())
        else:
            # Pixels, not bytes: compression depends on the library's version.
            assert (read_image(tmp_path / name).pixels == read_image(SCENES / name).pixels).all()


def answer(truth: dict, text: str = "", boxes: tuple = (), **fields: object) -> DemoAnswer:
    truth = {"task": "detect", "query": "ship", "answer": "", "boxes": [], "references": [], **truth}
    labels, scores = ("ship",) * len(boxes), (0.9,) * len(boxes)
    prediction = Prediction(truth["task"], truth["query"], text, (96, 96), boxes, labels, scores, **fields)
    return DemoAnswer(Path("harbor.tif"), truth, prediction)


class TestRightOrWrong:
    TRUE = ((0, 0, 10, 10), (20, 20, 40, 40))

    @pytest.mark.parametrize(
        ("boxes", "num_found", "is_right"),
        [
            (TRUE, 2, True),
            (TRUE[::-1], 2, True),
            (TRUE[:1], 1, False),  # one is missed
            ((*TRUE, (60, 60, 80, 80)), 2, False),  # one too many
            ((TRUE[0], TRUE[0]), 1, False),  # the same one twice
            (((0, 0, 10, 4), TRUE[1]), 1, False),  # an IoU of 0.4
            ((), 0, False),
        ],
    )
    def test_boxes(self, boxes, num_found, is_right):
        asked = answer({"boxes": self.TRUE}, boxes=boxes)
        assert (asked.num_found, asked.is_right) == (num_found, is_right)

    def test_a_text_must_be_the_true_one(self):
        truth = {"task": "vqa", "query": "Is there a ship?", "answer": "yes"}
        assert answer(truth, text=" Yes").is_right
        assert not answer(truth, text="yes yes").is_right

    def test_a_caption_may_be_any_of_the_true_ones(self):
        truth = {"task": "caption", "answer": "a harbor", "references": ["a harbor", "harbor"]}
        assert answer(truth, text="harbor").is_right


def test_boxes_are_told_in_the_coordinates_of_the_map():
    reference = GeoReference("EPSG:32631", (0.5, 0.0, 590000.0, 0.0, -0.5, 5755000.0))
    lines = map_lines(answer({}, boxes=((0.0, 0.0, 10.0, 20.0),), georeference=reference))
    assert "EPSG:32631" in lines[0]
    assert lines[1].split() == ["590000.0,", "5754990.0,", "590005.0,", "5755000.0"]
    assert map_lines(SimpleNamespace(prediction=answer({}).prediction)) == []

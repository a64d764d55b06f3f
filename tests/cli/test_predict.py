# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from geodit.cli.overlays import plan_overlays
from geodit.cli.prediction_table import predictions_table
from geodit.pipelines.answering import Answerer
from geodit.pipelines.prediction import Prediction


def test_json_has_an_answer_for_each_image(geodit, checkpoint, image, tmp_path):
    second = shutil.copy(image, tmp_path / "airport.png")
    result = geodit(
        "predict", image, second, "--task", "vqa", "--query", "How many ships are there?",
        "--model", checkpoint, "--max-denoising-steps", 2, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["model"], document["task"]) == (str(checkpoint), "vqa")
    assert [prediction["image"] for prediction in document["predictions"]] == [str(image), str(second)]
    first, other = document["predictions"]
    assert first["image_size"] == [40, 60]
    assert first["text"] == other["text"]  # the same image under two names


def test_the_table_names_the_image_and_the_files_written(geodit, checkpoint, image, tmp_path):
    out, overlay = tmp_path / "result.json", tmp_path / "boxes.png"
    result = geodit(
        "predict", image, "--task", "detect", "--query", "ship", "--model", checkpoint, "--max-denoising-steps", 1,
        "--out", out, "--overlay", overlay,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert image.name in result.stdout
    assert f"wrote {out}" in result.stdout
    assert f"wrote {overlay}" in result.stdout
    assert json.loads(out.read_text())["query"] == "ship"
    with Image.open(overlay) as picture:
        assert picture.format == "PNG"
        assert picture.width / picture.height == 60 / 40
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boxes.png", "harbor.png", "result.json"]


def test_tiles_are_counted(geodit, checkpoint, image):
    result = geodit(
        "predict", image, "--task", "detect", "--query", "ship", "--model", checkpoint, "--max-denoising-steps", 1,
        "--tile-size", 32, "--overlap", 0, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["predictions"][0]["num_tiles"] == 4


def test_every_decoding_option_reaches_the_model(geodit, checkpoint, image, monkeypatch):
    given = {}

    def refuse(self, images, inquiry, batch_size=8):
        options = inquiry.options
        given.update(options.generate_arguments(), seed=options.seed, structured=options.structured)
        raise ValueError("seen enough")

    monkeypatch.setattr(Answerer, "answer", refuse)
    result = geodit(
        "predict", image, "--task", "caption", "--model", checkpoint, "--max-denoising-steps", 9, "--remasking",
        "low_margin", "--confidence-threshold", 0.5, "--block-length", 4, "--prefix-refresh-steps", 2,
        "--denoise-after-eos", "--guidance-scale", 2, "--temperature", 1, "--no-capture-step", "--compile-step",
        "--seed", 3, "--no-structured",
    )  # fmt: skip
    assert "seen enough" in result.stderr
    assert given == {
        "max_denoising_steps": 9,
        "remasking": "low_margin",
        "confidence_threshold": 0.5,
        "block_length": 4,
        "prefix_refresh_steps": 2,
        "fill_after_eos": False,
        "guidance_scale": 2,
        "temperature": 1,
        "capture_step": False,
        "compile_step": True,
        "seed": 3,
        "structured": False,
    }


@pytest.mark.parametrize("command", [["predict", "IMAGE", "--task", "caption"], ["evaluate", "--limit", 1]])
def test_the_old_option_of_the_steps_works_with_one_line_of_warning(geodit, checkpoint, image, command):
    arguments = [image if argument == "IMAGE" else argument for argument in command]
    new = geodit(*arguments, "--model", checkpoint, "--max-denoising-steps", 2, "--json")
    old = geodit(*arguments, "--model", checkpoint, "--steps", 2, "--json")
    assert old.exit_code == new.exit_code == 0, old.output
    assert "geodit: warning: --steps is now --max-denoising-steps" in old.stderr
    assert "warning" not in new.stderr
    assert decoded(json.loads(old.stdout)) == decoded(json.loads(new.stdout))
    both = geodit(*arguments, "--model", checkpoint, "--steps", 2, "--max-denoising-steps", 2)
    assert both.exit_code == 2
    assert "give --max-denoising-steps only" in both.stderr


def decoded(document):
    """What a document says but for when and how it was asked for."""
    return document["predictions"] if "predictions" in document else document["cells"][0]["summary"]


def test_random_remasking_repeats_with_its_seed(geodit, checkpoint, image):
    def answer(seed: int) -> str:
        return geodit(
            "predict", image, "--task", "caption", "--model", checkpoint, "--max-denoising-steps", 4,
            "--remasking", "random", "--temperature", 1, "--seed", seed, "--json",
        ).stdout  # fmt: skip

    assert answer(1) == answer(1) != answer(2)


@pytest.mark.parametrize("tiles", [[], ["--tile-size", 32, "--overlap", 0]])
def test_boxes_are_well_formed_unless_any_text_is_asked_for(geodit, checkpoint, image, tiles):
    def parsed(*options):
        result = geodit(
            "predict", image, "--task", "detect", "--query", "ship", "--model", checkpoint,
            "--max-denoising-steps", 2, "--json", *tiles, *options,
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)["predictions"][0]["parsed"]

    assert parsed()
    assert parsed("--structured")
    assert not parsed("--no-structured")


@pytest.mark.parametrize(
    ("option", "value", "answers"),
    [
        ("--choices", "airport, harbor,forest", ["airport", "harbor", "forest"]),
        ("--pattern", "[0-7]", list("01234567")),
    ],
)
def test_the_answer_is_one_of_those_that_may_be(geodit, checkpoint, image, option, value, answers):
    if option == "--pattern":
        pytest.importorskip("outlines_core")
    found = set()
    for seed in range(4):
        result = geodit(
            "predict", image, "--task", "vqa", "--query", "What is it?", "--model", checkpoint, option, value,
            "--temperature", 9, "--seed", seed, "--json",
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        found.add(json.loads(result.stdout)["predictions"][0]["text"])
    assert found <= set(answers)
    assert len(found) > 1


def test_bands_have_an_old_name(geodit, checkpoint, image):
    arguments = ["predict", image, "--task", "caption", "--model", checkpoint, "--json"]
    new = geodit(*arguments, "--bands", "3,2,1")
    old = geodit(*arguments, "--band", 3, "--band", 2, "--band", 1)
    assert old.stdout == new.stdout
    assert "geodit: warning: --band is now --bands" in old.stderr
    assert "give --bands only" in geodit.fails(*arguments, "--band", 3, "--bands", "3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "segment"], "segment"),
        (["--task", "detect"], "detect"),  # without a query
        (["--task", "caption", "--query", "ship"], "caption"),
        (["--task", "caption", "--remasking", "best"], "low_confidence"),
        (["--task", "caption", "--entropy-bound", "1"], "entropy_bound"),
        (["--task", "ground", "--query", "ship", "--tile-size", "32"], "tile_size"),
        (["--task", "caption", "--tile-size", "large"], "--tile-size takes a number of pixels"),
        (["--task", "caption", "--gsd", "0.3"], "give --tile-size"),
        (["--task", "caption", "--resume"], "give --out"),
        (["--task", "caption", "--out", "captions.txt"], "unknown suffix .txt: give .geojson, .gpkg"),
        (["--task", "caption", "--format", "coco"], "give --out"),
        (["--task", "caption", "--choices", "a,,b"], "--choices"),
        (["--task", "caption", "--choices", "a,b,a"], "stands there twice"),
        (["--task", "caption", "--choices", "a", "--pattern", "b"], "give one of them"),
        (["--task", "detect", "--query", "ship", "--choices", "a"], "answered by boxes"),
        (["--task", "detect", "--query", "ship", "--choices", "a", "--tile-size", "32"], "answered by boxes"),
        (["--task", "caption", "--pattern", "("], "is invalid"),
        (["--task", "caption", "--bands", "7"], "1 to 3"),
        (["--task", "caption", "--bands", "red"], "--bands takes whole numbers"),
        (["--task", "caption", "--stretch", "high"], "--stretch: a stretch is none, auto"),
        (["--task", "caption", "--gamma", "0"], "--gamma must be a number above 0"),
        (["--task", "caption", "--match-threshold", "2"], "threshold must be above 0"),
        (["--task", "caption", "--out", "no/such/place.json"], "no/such"),
        (["--task", "caption", "--device", "abacus"], "abacus"),
    ],
)
def test_bad_input_is_told_in_one_line(geodit, checkpoint, image, arguments, message):
    assert message in geodit.fails("predict", image, "--model", checkpoint, *arguments)


def test_weights_are_of_the_type_that_was_asked_for(geodit, checkpoint, image, monkeypatch):
    seen = []
    answer = Answerer.answer

    def watch(answerer, *args, **kwargs):
        seen.append(str(answerer.model.dtype))
        return answer(answerer, *args, **kwargs)

    monkeypatch.setattr(Answerer, "answer", watch)
    for dtype in ("bfloat16", "float32"):
        result = geodit("predict", image, "--task", "caption", "--model", checkpoint, "--dtype", dtype)
        assert result.exit_code == 0, result.output
    assert seen == ["torch.bfloat16", "torch.float32"]


def test_the_table_has_the_probability_of_the_choice(geodit, checkpoint, image):
    result = geodit("predict", image, "--task", "classify", "--choices", "water", "--model", checkpoint)
    assert result.exit_code == 0, result.output
    assert "probability" in result.stdout
    assert "1.00" in result.stdout


def test_the_table_says_of_how_many_answers_it_shows_a_part():
    box = (0.0, 0.0, 4.0, 4.0)
    whole = Prediction("detect", "ship", "", (8, 8), boxes=(box,), labels=("ship",), scores=(0.5,))
    part = replace(whole, parsed=False)
    tiles = replace(part, num_tiles=9, num_unparsed_tiles=3)
    captions = [
        predictions_table([("a.png", prediction) for prediction in predictions]).caption
        for predictions in ([whole], [whole, part], [part, tiles])
    ]
    ending = "only partly understood: only well-formed boxes are shown"
    assert captions == [None, f"1 answer {ending}", f"4 answers {ending}"]


def test_a_missing_image_is_named_before_the_model_is_loaded(geodit):
    assert "there is no image nowhere.png" in geodit.fails("predict", "nowhere.png", "--task", "caption")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_file_that_is_no_image_is_named(geodit, checkpoint, tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    assert str(path) in geodit.fails("predict", path, "--task", "caption", "--model", checkpoint)


class TestModel:
    def test_a_missing_directory(self, geodit, image, tmp_path):
        assert "there is no directory" in self.fails(geodit, image, tmp_path / "nothing")

    def test_a_directory_without_a_checkpoint(self, geodit, image, tmp_path):
        assert "no config.json" in self.fails(geodit, image, tmp_path)

    def test_a_checkpoint_of_another_model(self, geodit, image, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "llama"}')
        assert "model_type 'llama', not 'geodit'" in self.fails(geodit, image, tmp_path)

    def test_damaged_weights(self, geodit, image, checkpoint, tmp_path):
        copy = shutil.copytree(checkpoint, tmp_path / "copy")
        weights = copy / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        assert "damaged" in self.fails(geodit, image, copy)

    @staticmethod
    def fails(geodit, image: Path, model: Path) -> str:
        return geodit.fails("predict", image, "--task", "caption", "--model", model)


class TestOverlays:
    def test_one_image_has_the_file_itself(self, tmp_path):
        assert plan_overlays([Path("a.tif")], tmp_path / "a.png") == {Path("a.tif"): tmp_path / "a.png"}

    def test_several_images_share_a_directory(self, tmp_path):
        images = [Path("a.tif"), Path("b.jpg")]
        assert plan_overlays(images, tmp_path / "new") == {
            Path("a.tif"): tmp_path / "new" / "a.png",
            Path("b.jpg"): tmp_path / "new" / "b.png",
        }

    @pytest.mark.parametrize(
        ("images", "overlay", "message"),
        [
            (["a.tif", "b.tif"], "both.png", "give a directory"),
            (["x/a.tif", "y/a.tif"], "pictures", "same name"),
            (["a.tif"], "missing/a.png", "no directory"),
        ],
    )
    def test_what_cannot_be_drawn_is_refused(self, tmp_path, images, overlay, message):
        with pytest.raises(Exception, match=message):
            plan_overlays([Path(name) for name in images], tmp_path / overlay)

    def test_an_image_is_never_overwritten(self, tmp_path):
        images = [tmp_path / "a.png", tmp_path / "b.png"]
        with pytest.raises(Exception, match="overwrite"):
            plan_overlays(images, tmp_path)
        with pytest.raises(Exception, match="overwrite"):
            plan_overlays(images[:1], images[0])

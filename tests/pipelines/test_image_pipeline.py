# SPDX-License-Identifier: Apache-2.0
"""Questions about images, whole or in tiles. The network of most tests finds red squares (see conftest)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SiglipVisionConfig

from geodit.configuration.configuration_geodit import GeoDiTConfig, GeoDiTTextConfig
from geodit.configuration.decoding_options import DecodingOptions
from geodit.data.windows import Window
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.rasters.georeference import GeoReference
from geodit.rasters.image_source import GeoImage, ImageSource

SQUARES = [(4, 6, 20, 22), (30, 40, 50, 56)]


def assert_boxes(boxes: Any, expected: Any, tolerance: float = 0.51) -> None:
    """Location tokens are read as the middle of their bin: half a pixel in an image of 64."""
    assert len(boxes) == len(expected)
    for box, target in zip(sorted(boxes), sorted(expected), strict=True):
        assert np.allclose(box, target, atol=tolerance), (boxes, expected)


class TestOneAnswerAnImage:
    def test_detection(self, pipe: GeoDiTPipeline, draw: Any) -> None:
        (prediction,) = pipe(draw.scene(64, 64, SQUARES), task="detect", query="ship")
        assert_boxes(prediction.boxes, SQUARES)
        assert prediction.labels == ("ship", "ship")
        assert prediction.parsed
        assert (prediction.task, prediction.query, prediction.image_size) == ("detect", "ship", (64, 64))

    def test_boxes_are_in_pixels_of_the_original_image(self, pipe: GeoDiTPipeline, draw: Any) -> None:
        (prediction,) = pipe(draw.scene(128, 256, [(16, 24, 80, 88)]), task="detect", query="ship")
        # The model sees 64 x 64 pixels: its quantum is 4 columns and 2 rows.
        assert_boxes(prediction.boxes, [(16, 24, 80, 88)], tolerance=4.1)
        assert prediction.image_size == (128, 256)

    def test_scores_are_those_of_the_tokens_of_each_box(self, pipe: GeoDiTPipeline, draw: Any) -> None:
        (prediction,) = pipe(draw.scene(64, 64, SQUARES), task="detect", query="ship")
        # The model is 0.9 sure of each of the first four tokens, and 0.8 of the next.
        assert prediction.scores == pytest.approx((0.9, 0.8))

    def test_scores_follow_the_rule_that_was_chosen(self, pipe: GeoDiTPipeline, draw: Any) -> None:
        sure = GeoDiTPipeline(pipe.model, pipe.processor, box_score="product")
        (prediction,) = sure(draw.scene(64, 64, SQUARES), task="detect", query="ship")
        assert prediction.scores == pytest.approx((0.9**4, 0.8**4))

    def test_an_unknown_rule_is_refused_before_the_weights_are_read(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="unknown box_score 'median': choose one of geometric_mean"):
            GeoDiTPipeline.from_pretrained(tmp_path / "absent", box_score="median")

    def test_boxes_before_the_broken_rest_of_an_answer_are_kept_and_marked(
        self, processor: GeoDiTProcessor, broken_model: Any, draw: Any
    ) -> None:
        pipe = GeoDiTPipeline(broken_model, processor)
        image = draw.scene(64, 64, [])
        (prediction,) = pipe(image, task="detect", query="ship")
        assert not prediction.parsed
        assert_boxes(prediction.boxes, [SQUARES[0]])
        assert (prediction.labels, len(prediction.scores)) == (("ship",), 1)
        (tiled,) = pipe(image, task="detect", query="ship", tile_size=64)
        assert not tiled.parsed
        assert (tiled.boxes, tiled.num_unparsed_tiles) == (prediction.boxes, 1)

    def test_nothing_found(self, pipe: GeoDiTPipeline, draw: Any) -> None:
        (prediction,) = pipe(draw.scene(64, 64, []), task="detect", query="ship")
        assert (prediction.text, prediction.parsed, prediction.boxes) == ("none", True, ())

    @pytest.mark.parametrize(
        ("task", "query"), [("vqa", "How many ships are there?"), ("caption", ""), ("classify", "")]
    )
    def test_text(self, pipe: GeoDiTPipeline, draw: Any, task: str, query: str) -> None:
        (prediction,) = pipe(draw.scene(64, 64, []), task=task, query=query)
        assert (prediction.text, prediction.boxes, prediction.parsed) == ("two", (), True)

    def test_unparsable_answer_is_reported(self, pipe: GeoDiTPipeline, draw: Any) -> None:
        (prediction,) = pipe(draw.scene(64, 64, []), task="ground", query="the ship")
        assert (prediction.text, prediction.boxes, prediction.parsed) == ("two", (), False)

    def test_images_of_every_kind_and_size_in_one_call(self, pipe: GeoDiTPipeline, draw: Any, tmp_path: Path) -> None:
        pixels = draw.scene(64, 64, SQUARES)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        images = [
            tmp_path / "a.png",
            str(tmp_path / "a.png"),
            Image.fromarray(pixels),
            pixels,
            GeoImage(pixels),
            draw.scene(128, 128, []),
        ]
        predictions = pipe(images, task="detect", query="ship")
        assert [len(one.boxes) for one in predictions] == [2, 2, 2, 2, 2, 0]

    def test_batches(self, pipe: GeoDiTPipeline, model: Any, draw: Any) -> None:
        images = [draw.scene(64, 64, SQUARES[:count]) for count in (0, 1, 2, 1, 0)]
        predictions = pipe(images, task="detect", query="ship", batch_size=2)
        assert [len(one.boxes) for one in predictions] == [0, 1, 2, 1, 0]
        assert [call["images"] for call in model.calls] == [2, 2, 1]

    def test_no_images(self, pipe: GeoDiTPipeline) -> None:
        assert pipe([], task="detect", query="ship") == []

    def test_decoding_arguments_reach_generate_and_others_stay_the_models_own(
        self, pipe: GeoDiTPipeline, model: Any, draw: Any
    ) -> None:
        pipe(draw.scene(64, 64, []), "detect", "ship", structured=False)
        pipe(
            draw.scene(64, 64, []),
            "detect",
            "ship",
            structured=False,
            max_denoising_steps=2,
            remasking="random",
            temperature=0.5,
            guidance_scale=2.0,
        )
        assert model.calls[0] == {"images": 1, "max_new_tokens": 32, "answer_pattern": None}
        assert model.calls[1] == {
            "images": 1,
            "max_new_tokens": 32,
            "answer_pattern": None,
            "max_denoising_steps": 2,
            "remasking": "random",
            "temperature": 0.5,
            "guidance_scale": 2.0,
        }

    def test_random_streams_belong_to_images_not_to_places_in_a_batch(
        self, pipe: GeoDiTPipeline, model: Any, draw: Any
    ) -> None:
        def seeds(batch_size: int, seed: int) -> list[int]:
            model.calls.clear()
            pipe([draw.scene(64, 64, [])] * 5, "detect", "ship", seed=seed, batch_size=batch_size)
            assert all(call["seed"] is None for call in model.calls)
            return [generator.initial_seed() for call in model.calls for generator in call["generator"]]

        assert seeds(2, seed=7) == seeds(5, seed=7)
        assert len({*seeds(5, seed=7), *seeds(5, seed=8)}) == 10

    def test_denoising(self, pipe: GeoDiTPipeline, draw: Any) -> None:
        (prediction,) = pipe(
            draw.scene(64, 64, SQUARES), "detect", "ship", max_denoising_steps=8, return_denoising=True
        )
        denoising = prediction.denoising
        assert denoising is not None
        assert denoising.tokens[:4] == ("<loc_4>", "<loc_6>", "<loc_20>", "<loc_22>")
        assert set(denoising.tokens[8:]) == {"[EOS]"}
        assert denoising.commit_steps == tuple(place // 4 for place in range(32))
        assert denoising.confidences[0] == pytest.approx(0.9)
        assert denoising.num_steps == 8


class TestTiles:
    def test_objects_of_a_large_image(self, pipe: GeoDiTPipeline, draw: Any) -> None:
        boxes = [(x, y, x + 14, y + 12) for y in range(5, 180, 30) for x in range(9, 280, 30)]
        (prediction,) = pipe(draw.scene(200, 300, boxes), "detect", "ship", tile_size=64, overlap=0.5)
        assert_boxes(prediction.boxes, boxes)
        assert prediction.num_tiles == 6 * 9
        assert prediction.num_unparsed_tiles == 0
        assert list(prediction.scores) == sorted(prediction.scores, reverse=True)

    def test_object_across_a_seam_is_found_once_and_whole(self, pipe: GeoDiTPipeline, draw: Any) -> None:
        # Tiles of 64 begin at 0, 32 and 64. The first and the last cut this object, the second sees it whole.
        (prediction,) = pipe(draw.scene(64, 128, [(50, 10, 80, 30)]), "detect", "ship", tile_size=64, overlap=0.5)
        assert_boxes(prediction.boxes, [(50, 10, 80, 30)])

    def test_image_smaller_than_a_tile(self, pipe: GeoDiTPipeline, draw: Any) -> None:
        (prediction,) = pipe(draw.scene(64, 64, SQUARES), "detect", "ship", tile_size=500)
        assert_boxes(prediction.boxes, SQUARES)
        assert prediction.num_tiles == 1

    def test_tiles_without_data_are_passed_over(self, pipe: GeoDiTPipeline, model: Any, draw: Any) -> None:
        pixels = draw.scene(64, 192, SQUARES)
        valid = np.zeros((64, 192), bool)
        valid[:, :64] = True
        (prediction,) = pipe(GeoImage(pixels, valid=valid), "detect", "ship", tile_size=64, overlap=0.0)
        assert_boxes(prediction.boxes, SQUARES)
        assert prediction.num_tiles == 1
        assert [call["images"] for call in model.calls] == [1]

    def test_no_more_than_a_batch_of_tiles_is_read(self, pipe: GeoDiTPipeline) -> None:
        class EndlessSource(ImageSource):
            image_size = (64, 6400)
            georeference = None
            largest = 0

            def _read(self, window: Window) -> tuple[Any, None]:
                self.largest = max(self.largest, window.height * window.width)
                return np.zeros((window.height, window.width, 3), np.uint8), None

        source = EndlessSource()
        done: list[tuple[int, int]] = []
        pipe.detect_in_tiles(
            source, "ship", tile_size=64, overlap=0.0, batch_size=40, progress=lambda *now: done.append(now)
        )
        assert source.largest == 64 * 64
        assert done == [(count, 100) for count in range(1, 101)]

    def test_options_reach_every_tile(self, pipe: GeoDiTPipeline, model: Any, draw: Any) -> None:
        pipe(
            draw.scene(64, 128, []),
            "detect",
            "ship",
            tile_size=64,
            overlap=0.0,
            max_denoising_steps=3,
            seed=1,
            batch_size=1,
        )
        assert [call["max_denoising_steps"] for call in model.calls] == [3, 3]
        assert len({call["generator"][0].initial_seed() for call in model.calls}) == 2


class TestBadArguments:
    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            ({"task": "segment"}, "Unknown task 'segment'"),
            ({"task": "detect", "query": ""}, "needs a query"),
            ({"task": "caption", "query": "ship"}, "takes no query"),
            ({"batch_size": 0}, "batch_size"),
            ({"tile_size": 0}, "window"),
            ({"tile_size": 64, "overlap": 1.0}, "overlap"),
            ({"tile_size": 64, "task": "vqa"}, "tile_size is for tasks that list objects"),
            ({"tile_size": 64, "task": "ground"}, "tile_size is for tasks that list objects"),
            ({"tile_size": 64, "return_denoising": True}, "return_denoising"),
            ({"seed": -1}, "seed must be an integer"),
            ({"bands": (4,)}, "bands"),
        ],
    )
    def test_are_named(self, pipe: GeoDiTPipeline, draw: Any, arguments: dict[str, Any], named: str) -> None:
        with pytest.raises(ValueError, match=named):
            pipe(draw.scene(64, 64, []), **{"task": "detect", "query": "ship", **arguments})

    def test_missing_file(self, pipe: GeoDiTPipeline, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"absent\.tif"):
            pipe(tmp_path / "absent.tif", "detect", "ship")


class TestPrediction:
    def test_of_a_georeferenced_image_has_map_coordinates(self, pipe: GeoDiTPipeline, draw: Any) -> None:
        place = GeoReference("EPSG:32617", (2.0, 0.0, 1000.0, 0.0, -2.0, 5000.0))
        (prediction,) = pipe(GeoImage(draw.scene(64, 64, SQUARES), place), "detect", "ship")
        assert prediction.map_boxes is not None
        assert_boxes(prediction.map_boxes, [(1008, 4956, 1040, 4988), (1060, 4888, 1100, 4920)], tolerance=1.1)
        result = prediction.to_dict()
        assert result["crs"] == "EPSG:32617"
        assert result["map_boxes"] == [list(box) for box in prediction.map_boxes]

    def test_is_json(self, pipe: GeoDiTPipeline, draw: Any) -> None:
        (prediction,) = pipe(draw.scene(64, 64, SQUARES), "detect", "ship", return_denoising=True)
        result = json.loads(json.dumps(prediction.to_dict()))
        assert result["boxes"] == [list(box) for box in prediction.boxes]
        assert len(result["denoising"]["tokens"]) == 32
        assert "crs" not in result
        assert "denoising" not in pipe(draw.scene(64, 64, []), "detect", "ship")[0].to_dict()


@pytest.fixture(scope="module")
def checkpoint(processor: GeoDiTProcessor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GeoDiT with random weights, saved with its processor."""
    tokenizer = processor.tokenizer
    torch.manual_seed(0)
    config = GeoDiTConfig(
        text_config=GeoDiTTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=SiglipVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=64,
            patch_size=16,
            vision_use_head=False,
        ),
        image_token_id=processor.image_token_id,
        mask_token_id=tokenizer.mask_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    directory = tmp_path_factory.mktemp("checkpoint")
    GeoDiTForMaskedDiffusion(config).save_pretrained(directory)
    processor.save_pretrained(directory)
    return directory


class TestRealNetwork:
    def test_saved_checkpoint_answers(self, checkpoint: Path, device: torch.device, draw: Any) -> None:
        pipe = GeoDiTPipeline.from_pretrained(checkpoint, device=device, local_files_only=True)
        assert not pipe.model.training
        for task, query in [
            ("caption", ""),
            ("ground", "the ship"),
            ("detect", "ship"),
            ("vqa", "Why?"),
            ("classify", ""),
        ]:
            (prediction,) = pipe(
                draw.scene(64, 80, SQUARES), task, query, max_denoising_steps=2, return_denoising=True
            )
            assert prediction.denoising is not None
            assert len(prediction.denoising.tokens) == pipe.processor.canvas_length(task)
            assert max(prediction.denoising.commit_steps) == 1
            assert all(0 <= x1 < x2 <= 80 and 0 <= y1 < y2 <= 64 for x1, y1, x2, y2 in prediction.boxes)

    def test_seeded_answers_do_not_depend_on_the_batch_size(
        self, checkpoint: Path, device: torch.device, draw: Any
    ) -> None:
        pipe = GeoDiTPipeline.from_pretrained(checkpoint, device=device, local_files_only=True)
        images = [draw.scene(64, 64, SQUARES)] * 3

        def answers(batch_size: int) -> list[str]:
            predictions = pipe(
                images, "caption", max_denoising_steps=4, temperature=1.0, seed=5, batch_size=batch_size
            )
            return [prediction.text for prediction in predictions]

        assert answers(1) == answers(3)
        assert len(set(answers(3))) > 1

    def test_options_are_checked_by_generate(self, checkpoint: Path, device: torch.device, draw: Any) -> None:
        pipe = GeoDiTPipeline.from_pretrained(checkpoint, device=device, local_files_only=True)
        with pytest.raises(ValueError, match="remasking"):
            pipe(draw.scene(64, 64, []), "caption", remasking="hottest")

    def test_the_old_name_of_the_steps_works_with_a_warning(
        self, checkpoint: Path, device: torch.device, draw: Any
    ) -> None:
        pipe = GeoDiTPipeline.from_pretrained(checkpoint, device=device, local_files_only=True)
        with pytest.warns(DeprecationWarning, match="steps is now max_denoising_steps") as warnings:
            (prediction,) = pipe(draw.scene(64, 64, []), "caption", steps=3, return_denoising=True)
        assert prediction.denoising is not None
        assert prediction.denoising.num_steps == 3
        assert warnings[0].filename == __file__

    def test_arguments_override_options(self, checkpoint: Path, device: torch.device, draw: Any) -> None:
        pipe = GeoDiTPipeline.from_pretrained(checkpoint, device=device, local_files_only=True)
        options = DecodingOptions(max_denoising_steps=3)
        image = draw.scene(64, 64, [])
        made = [
            pipe(image, "caption", return_denoising=True, options=options, **changes)[0].denoising
            for changes in ({}, {"max_denoising_steps": 2})
        ]
        assert [denoising and denoising.num_steps for denoising in made] == [3, 2]

    def test_unknown_options_are_refused(self, checkpoint: Path, device: torch.device, draw: Any) -> None:
        pipe = GeoDiTPipeline.from_pretrained(checkpoint, device=device, local_files_only=True)
        with pytest.raises(ValueError, match="no decoding option num_beams: the options are max_denoising_steps"):
            pipe(draw.scene(64, 64, []), "caption", num_beams=2)

    def test_a_threshold_takes_fewer_steps(self, checkpoint: Path, device: torch.device, draw: Any) -> None:
        pipe = GeoDiTPipeline.from_pretrained(checkpoint, device=device, local_files_only=True)

        def steps(**options: Any) -> int:
            prediction = pipe(
                draw.scene(64, 64, []), "caption", max_denoising_steps=4, return_denoising=True, **options
            )[0]
            assert prediction.denoising is not None
            return len(set(prediction.denoising.commit_steps))

        assert steps(confidence_threshold=0.0) == 1
        assert steps(remasking="high_entropy", entropy_bound=1e6) == 1
        assert steps() == 4

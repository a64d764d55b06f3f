# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer, PreTrainedTokenizerFast, SiglipImageProcessorPil

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.processing import processing_geodit
from geodit.processing.boxes_geodit import BOX_FORMATS
from geodit.processing.image_processors import build_image_processor
from geodit.processing.processing_geodit import CHAT_TEMPLATE, COMPACT_CHAT_TEMPLATE, GeoDiTProcessor
from geodit.processing.tasks_geodit import DEFAULT_TASKS, Task
from geodit.processing.tokenization import build_tokenizer

QUERIES = {"caption": "", "ground": "white ship", "detect": "ship", "vqa": "How many ships?", "classify": ""}
LLADA = (
    "<|startoftext|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)


def text_of(processor: GeoDiTProcessor, inputs: Any, row: int = 0) -> str:
    """The sequence that the model sees, without padding."""
    ids = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
    return str(processor.tokenizer.decode(ids))


class TestLayout:
    def test_the_image_stands_before_the_beginning_of_the_text(
        self, processor: GeoDiTProcessor, image: Image.Image
    ) -> None:
        inputs = processor(images=image, text="ship", task="detect", return_tensors="pt")
        assert text_of(processor, inputs) == "<image>" * 4 + LLADA.format("Detect: ship.")
        assert inputs["pixel_values"].shape == (1, 3, 32, 32)
        assert set(inputs) == {"input_ids", "attention_mask", "pixel_values"}

    def test_the_compact_template(self, compact_processor: GeoDiTProcessor, image: Image.Image) -> None:
        inputs = compact_processor(images=image, text="ship", task="detect", return_tensors="pt")
        assert text_of(compact_processor, inputs) == "<image>" * 4 + "<|user|>Detect: ship.<|assistant|>"

    def test_text_without_an_image(self, processor: GeoDiTProcessor) -> None:
        inputs = processor(text="ship", task="detect", return_tensors="pt")
        assert text_of(processor, inputs) == LLADA.format("Detect: ship.")
        assert "pixel_values" not in inputs

    def test_images_without_a_text(self, processor: GeoDiTProcessor, image: Image.Image) -> None:
        assert set(processor(images=[image, image], return_tensors="pt")) == {"pixel_values"}

    def test_without_a_task_the_text_is_used_as_it_stands(
        self, processor: GeoDiTProcessor, image: Image.Image
    ) -> None:
        inputs = processor(images=image, text="a ship", return_tensors="pt")
        assert text_of(processor, inputs) == "<image>" * 4 + "a ship"

    def test_a_placeholder_is_expanded_where_it_stands(self, processor: GeoDiTProcessor, image: Image.Image) -> None:
        inputs = processor(images=image, text="before <image> after", return_tensors="pt")
        assert text_of(processor, inputs) == "before " + "<image>" * 4 + " after"

    def test_several_images_in_one_text(
        self, processor: GeoDiTProcessor, image: Image.Image, other_image: Image.Image
    ) -> None:
        inputs = processor(images=[image, other_image], text="<image>then<image>now", return_tensors="pt")
        assert text_of(processor, inputs) == "<image>" * 4 + "then" + "<image>" * 4 + "now"
        assert len(inputs["pixel_values"]) == 2

    def test_another_image_token(self, image_processor: SiglipImageProcessorPil, image: Image.Image) -> None:
        tokenizer = build_tokenizer(["ship"], location_bins=8)
        tokenizer.add_special_tokens({"extra_special_tokens": ["<img>"]}, replace_extra_special_tokens=False)
        processor = GeoDiTProcessor(image_processor, tokenizer, image_token="<img>", num_image_tokens=2)
        inputs = processor(images=image, task="caption", return_tensors="pt")
        assert text_of(processor, inputs) == "<img><img>" + LLADA.format("Describe the image.")


class TestBatch:
    def test_prompts_are_padded_on_the_left(
        self, processor: GeoDiTProcessor, image: Image.Image, other_image: Image.Image
    ) -> None:
        images, queries = [image, other_image], ["ship", "large storage tank"]
        batch = processor(images=images, text=queries, task="detect", return_tensors="pt")
        for row in range(2):
            alone = processor(images=images[row], text=queries[row], task="detect", return_tensors="pt")
            length = alone["input_ids"].shape[1]
            assert torch.equal(batch["input_ids"][row, -length:], alone["input_ids"][0])
            assert batch["attention_mask"][row].sum() == length
            assert batch["attention_mask"][row, -length:].all()
            assert torch.equal(batch["pixel_values"][row], alone["pixel_values"][0])

    @pytest.mark.parametrize("arguments", [{"padding_side": "right"}, {"text_kwargs": {"padding_side": "right"}}])
    def test_padding_on_the_right_on_request(self, processor: GeoDiTProcessor, arguments: dict[str, Any]) -> None:
        batch = processor(text=["ship", "a large white storage tank"], return_tensors="pt", **arguments)
        assert batch["attention_mask"][0].tolist() == sorted(batch["attention_mask"][0].tolist(), reverse=True)
        assert not batch["attention_mask"].all()

    def test_a_task_for_each_text(self, processor: GeoDiTProcessor, image: Image.Image) -> None:
        batch = processor(images=[image, image], text=["", "ship"], task=["caption", "detect"], return_tensors="pt")
        assert "Describe the image." in text_of(processor, batch, 0)
        assert "Detect: ship." in text_of(processor, batch, 1)

    def test_a_task_without_a_query_needs_no_text(self, processor: GeoDiTProcessor, image: Image.Image) -> None:
        assert len(processor(images=[image, image], task="caption")["input_ids"]) == 2
        assert len(processor(task=["caption", "classify", "caption"])["input_ids"]) == 3

    def test_lists_of_images_mix_texts_with_and_without(self, processor: GeoDiTProcessor, image: Image.Image) -> None:
        batch = processor(images=[[image], [], [image, image]], text=["a", "b", "c"], return_tensors="pt")
        assert [text_of(processor, batch, row) for row in range(3)] == [
            "<image>" * 4 + "a",
            "b",
            "<image>" * 8 + "c",
        ]
        assert len(batch["pixel_values"]) == 3

    def test_an_array_of_images(self, processor: GeoDiTProcessor, image: Image.Image) -> None:
        stacked = np.stack([np.asarray(image)] * 2)
        assert len(processor(images=stacked, task="caption")["pixel_values"]) == 2

    @pytest.mark.parametrize(
        ("num_images", "texts", "numbers"),
        [
            (2, ["a"], "2 image(s) for 1 text(s)"),
            (1, ["a", "b"], "1 image(s) for 2 text(s)"),
            (3, ["<image>a", "b"], "3 image(s) for 2 text(s)"),
            (2, ["<image><image>a", "<image>b"], "Found 3 <image>"),
            (0, ["<image>a"], "0 image(s) for 1 text(s)"),
        ],
    )
    def test_a_wrong_number_of_images_names_both_numbers(
        self, processor: GeoDiTProcessor, image: Image.Image, num_images: int, texts: list[str], numbers: str
    ) -> None:
        with pytest.raises(ValueError, match=re.escape(numbers)):
            processor(images=[image] * num_images or None, text=texts)

    def test_images_that_belong_to_another_text(self, processor: GeoDiTProcessor, image: Image.Image) -> None:
        with pytest.raises(ValueError, match=r"Found 3 <image>"):
            processor(images=[[image, image], [image]], text=["<image>a", "<image><image>b"])

    def test_a_wrong_number_of_images_for_a_task(self, processor: GeoDiTProcessor, image: Image.Image) -> None:
        with pytest.raises(ValueError, match=re.escape("2 image(s) for 1 text(s)")):
            processor(images=[image, image], text="ship", task="detect")

    def test_a_wrong_number_of_tasks(self, processor: GeoDiTProcessor) -> None:
        with pytest.raises(ValueError, match="2 tasks for 1 texts"):
            processor(text=["ship"], task=["detect", "ground"])


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"text": "a", "return_tensor": "pt"}, r"'return_tensor'\. Did you mean return_tensors"),
            ({"text": "a", "image": 1}, r"'image'\. Did you mean images"),
            ({"text": "a", "nonsense": 1}, "Unknown argument 'nonsense'"),
            ({"text": 3}, "string"),
            ({"text": [3]}, "string"),
            ({"text": []}, "string"),
            ({"videos": [1], "audio": [1]}, "at least one input"),
            ({"text": "a", "text_kwargs": {"pading": True}}, r"in text_kwargs: 'pading'\. Did you mean padding"),
            ({"text": "a", "images_kwargs": {"do_resiz": True}}, r"in images_kwargs: 'do_resiz'\. Did you mean do_re"),
            ({"text": "a", "common_kwargs": {"padding": True}}, "in common_kwargs: 'padding'"),
            ({"text": "a", "text_kwargs": None}, "`text_kwargs` must be a dictionary of arguments, got None"),
            ({"text": "a", "task": 3}, "`task` must be a string"),
            ({"text": "a", "task": "segment"}, "caption, ground, detect, vqa, classify"),
            ({"task": "detect"}, "needs a query"),
            ({"text": "a", "task": "caption"}, "takes no query"),
            ({"text": 3, "task": "detect"}, "string"),
            ({"text": "see <image>", "task": "vqa"}, "special token '<image>'"),
            ({"text": "a <|mdm_mask|>", "task": "vqa"}, r"special token '<\|mdm_mask\|>'"),
            ({}, "at least one input"),
        ],
    )
    def test_wrong_arguments(self, processor: GeoDiTProcessor, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            processor(**arguments)

    def test_videos_and_audio_are_ignored_with_a_warning(
        self, processor: GeoDiTProcessor, image: Image.Image, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warnings: list[str] = []
        monkeypatch.setattr(processing_geodit.logger, "warning_once", warnings.append, raising=False)
        expected = processor(images=image, text="a", return_tensors="pt")
        assert warnings == []
        inputs = processor(images=image, text="a", videos=[np.zeros((2, 3, 8, 8))], audio=[0.5], return_tensors="pt")
        assert [re.findall(r"`(\w+)` is ignored", warning) for warning in warnings] == [["videos"], ["audio"]]
        assert set(inputs) == set(expected)
        for name, value in expected.items():
            assert torch.equal(inputs[name], value), name

    @pytest.mark.parametrize(
        "arguments",
        [
            {"common_kwargs": {"return_tensors": "pt"}},
            {"text_kwargs": {"return_tensors": "pt"}, "images_kwargs": {"return_tensors": "pt"}},
            {"return_tensors": "pt", "text_kwargs": {}, "videos_kwargs": {"num_frames": 2}, "audio_kwargs": {}},
            {"return_tensors": "pt", "num_frames": 2, "fps": None, "sampling_rate": 16000},
        ],
    )
    def test_that_transformers_knows_are_accepted(
        self, processor: GeoDiTProcessor, image: Image.Image, arguments: dict[str, Any]
    ) -> None:
        inputs = processor(images=image, text="a", **arguments)
        assert {name: type(value) for name, value in inputs.items()} == {
            "input_ids": torch.Tensor,
            "attention_mask": torch.Tensor,
            "pixel_values": torch.Tensor,
        }

    @pytest.mark.parametrize(
        ("told", "arguments", "lengths", "first"),
        [
            ({}, {}, [3, 3], 0),
            ({}, {"padding": False}, [1, 3], 1),
            ({}, {"text_kwargs": {"padding": False}}, [1, 3], 1),
            ({}, {"text_kwargs": {"padding": "max_length", "max_length": 5}}, [5, 5], 0),
            ({"padding": False}, {}, [1, 3], 1),
            ({"padding": "max_length", "max_length": 5}, {}, [5, 5], 0),
            ({"padding": "max_length", "max_length": 5}, {"padding": True}, [3, 3], 0),
            ({"padding_side": "right"}, {}, [3, 3], 1),
            ({"padding_side": "right"}, {"text_kwargs": {"padding_side": "left"}}, [3, 3], 0),
        ],
    )
    def test_of_a_call_come_before_those_of_the_tokenizer_before_defaults(
        self,
        image_processor: SiglipImageProcessorPil,
        tmp_path: Path,
        told: dict[str, Any],
        arguments: dict[str, Any],
        lengths: list[int],
        first: int,
    ) -> None:
        build_tokenizer(["ship"]).save_pretrained(tmp_path)
        tokenizer = AutoTokenizer.from_pretrained(tmp_path, **told)
        batch = GeoDiTProcessor(image_processor, tokenizer)(text=["1", "123"], **arguments)
        assert [len(ids) for ids in batch["input_ids"]] == lengths
        assert batch["attention_mask"][0][0] == first

    def test_given_twice_are_refused(self, processor: GeoDiTProcessor) -> None:
        with pytest.raises(ValueError, match="padding was passed two times"):
            processor(text="a", padding=True, text_kwargs={"padding": False})

    def test_the_arguments_given_are_left_alone(self, processor: GeoDiTProcessor, image: Image.Image) -> None:
        texts, images, text_kwargs = ["a"], [image], {"padding": True}
        processor(text=texts, images=images, text_kwargs=text_kwargs)
        assert (texts, images, text_kwargs) == (["a"], [image], {"padding": True})

    def test_truncating_an_image_is_refused(
        self, image_processor: SiglipImageProcessorPil, image: Image.Image
    ) -> None:
        # A tokenizer of its own, since a tokenizer remembers how it truncated last.
        processor = GeoDiTProcessor(image_processor, build_tokenizer(["ship"]))
        with pytest.raises(ValueError, match="disable truncation"):
            processor(images=image, text="a ship", truncation=True, max_length=2)


class TestConstruction:
    def test_tokens_that_are_missing_are_named(self, image_processor: SiglipImageProcessorPil) -> None:
        tokenizer = build_tokenizer(["ship"], location_bins=8)
        with pytest.raises(ValueError, match="no token '<loc_8>'"):
            GeoDiTProcessor(image_processor, tokenizer, location_bins=9)
        with pytest.raises(ValueError, match="no token '<loc_0>'"):
            GeoDiTProcessor(image_processor, build_tokenizer(["ship"], location_bins=0))
        with pytest.raises(ValueError, match="no image token '<img>'"):
            GeoDiTProcessor(image_processor, tokenizer, image_token="<img>")
        tokenizer.eos_token = None
        with pytest.raises(ValueError, match="no EOS token"):
            GeoDiTProcessor(image_processor, tokenizer)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"box_format": "xyxy"}, "location_tokens, integers_100"),
            ({"num_image_tokens": 0}, "num_image_tokens"),
            ({"num_image_tokens": 2.5}, "num_image_tokens"),
            ({"location_bins": 1}, "bins"),
            ({"tasks": {}}, "at least one task"),
        ],
    )
    def test_wrong_values(
        self,
        image_processor: SiglipImageProcessorPil,
        tokenizer: PreTrainedTokenizerFast,
        arguments: dict[str, Any],
        message: str,
    ) -> None:
        with pytest.raises(ValueError, match=message):
            GeoDiTProcessor(image_processor, tokenizer, **arguments)

    def test_siglip_is_always_used_on_pillow(self, tokenizer: PreTrainedTokenizerFast) -> None:
        other_backend = type("SiglipImageProcessor", (SiglipImageProcessorPil,), {"backend": "torchvision"})
        processor = GeoDiTProcessor(other_backend(size={"height": 16, "width": 16}), tokenizer)
        assert type(processor.image_processor) is SiglipImageProcessorPil
        assert processor.image_processor.size.height == 16

    def test_integers_need_no_location_tokens(self, image_processor: SiglipImageProcessorPil) -> None:
        tokenizer = build_tokenizer(["ship"], location_bins=0)
        assert GeoDiTProcessor(image_processor, tokenizer, box_format="integers_100").box_codec.name == (
            "integers_100"
        )


class TestSaving:
    @pytest.mark.parametrize("box_format", BOX_FORMATS)
    def test_everything_comes_back(
        self,
        image_processor: SiglipImageProcessorPil,
        tokenizer: PreTrainedTokenizerFast,
        image: Image.Image,
        box_format: str,
        tmp_path: Path,
    ) -> None:
        processor = GeoDiTProcessor(
            image_processor,
            tokenizer,
            chat_template=COMPACT_CHAT_TEMPLATE,
            tasks={"find": Task("find", "Find every {query}", 24, "boxes")},
            box_format=box_format,
            location_bins=32,
            num_image_tokens=5,
        )
        processor.save_pretrained(tmp_path)
        # A model's config in the same folder, of a type that this process may not know.
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "geodit"}))
        loaded = GeoDiTProcessor.from_pretrained(tmp_path)

        assert loaded.to_dict() == processor.to_dict()
        assert loaded.tasks == processor.tasks
        assert loaded.chat_template == processor.chat_template
        assert (loaded.box_format, loaded.location_bins, loaded.num_image_tokens) == (box_format, 32, 5)
        assert type(loaded.image_processor) is SiglipImageProcessorPil
        before = processor(images=image, text="ship", task="find", return_tensors="pt")
        after = loaded(images=image, text="ship", task="find", return_tensors="pt")
        for name, value in before.items():
            assert torch.equal(after[name], value), name

    @pytest.mark.parametrize("load", [GeoDiTProcessor.from_pretrained, AutoProcessor.from_pretrained])
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("num_image_tokens", 64),
            ("box_format", "integers_1000"),
            ("location_bins", 32),
            ("tasks", {"find": {"name": "find", "prompt": "Find {query}", "max_new_tokens": 4, "answer": "boxes"}}),
            ("image_token", "<img>"),
            ("chat_template", "{{ '<image>' }} Hello"),
        ],
    )
    def test_an_argument_of_the_constructor_overrides_the_file(
        self,
        image_processor: SiglipImageProcessorPil,
        image: Image.Image,
        tmp_path: Path,
        load: Callable[..., GeoDiTProcessor],
        name: str,
        value: Any,
    ) -> None:
        tokenizer = build_tokenizer(["ship"], location_bins=64)
        tokenizer.add_special_tokens({"extra_special_tokens": ["<img>"]}, replace_extra_special_tokens=False)
        GeoDiTProcessor(image_processor, tokenizer, num_image_tokens=4).save_pretrained(tmp_path)
        # As in a checkpoint, whose configuration has properties of the same names.
        GeoDiTConfig().save_pretrained(tmp_path)
        arguments = {name: value}
        if name == "image_token":
            arguments["chat_template"] = CHAT_TEMPLATE.replace("<image>", "<img>")
        expected = GeoDiTProcessor(image_processor, tokenizer, **{"num_image_tokens": 4, **arguments})
        loaded = load(tmp_path, **arguments)
        assert loaded.to_dict() == expected.to_dict() != load(tmp_path).to_dict() or name == "chat_template"
        assert loaded.chat_template == loaded.tokenizer.chat_template == expected.chat_template
        conversation: Any = [{"role": "user", "content": [{"type": "image", "image": image}]}]
        ids, expected_ids = (one.apply_chat_template(conversation, tokenize=True) for one in (loaded, expected))
        assert ids == expected_ids

    def test_the_vision_aspect_ratio_can_be_overridden_with_an_image_processor_for_it(
        self, processor: GeoDiTProcessor, tmp_path: Path
    ) -> None:
        processor.save_pretrained(tmp_path)
        GeoDiTConfig().save_pretrained(tmp_path)
        config = GeoDiTConfig(vision_config={"image_size": 32, "patch_size": 16}, vision_aspect_ratio="anyres_max_4")
        tiles = build_image_processor(config)
        loaded = GeoDiTProcessor.from_pretrained(tmp_path, vision_aspect_ratio="anyres_max_4", image_processor=tiles)
        assert loaded.vision_aspect_ratio == "anyres_max_4"
        assert loaded.image_processor is tiles
        assert loaded.count_image_tokens((32, 32)) == 4 + 2 * 3
        with pytest.raises(ValueError, match="needs an image processor that cuts images into square tiles"):
            GeoDiTProcessor.from_pretrained(tmp_path, vision_aspect_ratio="anyres_max_4")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"num_image_tokens": 0}, "`num_image_tokens` must be a positive integer, got 0"),
            ({"box_format": "xyxy"}, "location_tokens, integers_100"),
            ({"location_bins": 65}, "no token '<loc_64>'"),
            ({"image_token": "<img>"}, r"does not write the image token '<img>'\. Give a `chat_template`, too"),
            ({"image_token": "<img>", "chat_template": "<img>"}, "no image token '<img>'"),
            ({"num_image_token": 64}, r"Unknown argument 'num_image_token'\. Did you mean num_image_tokens"),
            ({"task": {}}, r"Unknown argument 'task'\. Did you mean tasks"),
        ],
    )
    def test_an_override_that_does_not_work_is_refused(
        self, processor: GeoDiTProcessor, tmp_path: Path, arguments: dict[str, Any], message: str
    ) -> None:
        processor.save_pretrained(tmp_path)
        with pytest.raises(ValueError, match=message):
            GeoDiTProcessor.from_pretrained(tmp_path, **arguments)

    def test_arguments_of_the_parts_reach_them(self, processor: GeoDiTProcessor, tmp_path: Path) -> None:
        processor.save_pretrained(tmp_path)
        loaded = GeoDiTProcessor.from_pretrained(
            tmp_path, do_normalize=False, padding_side="right", num_image_tokens=9
        )
        assert loaded.image_processor.do_normalize is False
        assert loaded.tokenizer.padding_side == "right"

    def test_the_tasks_are_saved_as_a_table(self, processor: GeoDiTProcessor, tmp_path: Path) -> None:
        processor.save_pretrained(tmp_path)
        saved = json.loads((tmp_path / "processor_config.json").read_text())
        assert saved["tasks"]["ground"] == {
            "name": "ground",
            "prompt": "Locate: {query}.",
            "max_new_tokens": 8,
            "answer": "boxes",
        }
        assert saved["processor_class"] == "GeoDiTProcessor"

    def test_it_can_be_shown(self, processor: GeoDiTProcessor) -> None:
        assert "location_tokens" in repr(processor)


class TestFormatAnswer:
    SIZE = (64, 64)
    LEFT, RIGHT, RIGHT_LOWER = [4, 30, 10, 40], [20, 4, 30, 12], [20, 10, 31, 20]

    def test_boxes_are_sorted_from_left_to_right(self, processor: GeoDiTProcessor) -> None:
        answer = processor.format_answer(
            "detect", boxes=[self.RIGHT_LOWER, self.RIGHT, self.LEFT], image_size=self.SIZE
        )
        assert answer == (
            "<loc_4><loc_30><loc_10><loc_40><loc_20><loc_4><loc_30><loc_12><loc_20><loc_10><loc_31><loc_20>"
        )

    def test_a_single_label_is_not_written(self, processor: GeoDiTProcessor) -> None:
        answer = processor.format_answer(
            "detect", boxes=[self.RIGHT, self.LEFT], labels=["ship", "ship"], image_size=self.SIZE
        )
        assert "ship" not in answer

    def test_labels_move_with_their_boxes(self, processor: GeoDiTProcessor) -> None:
        answer = processor.format_answer(
            "detect", boxes=[self.RIGHT, self.LEFT], labels=["ship", "harbor"], image_size=self.SIZE
        )
        assert answer == "harbor<loc_4><loc_30><loc_10><loc_40>ship<loc_20><loc_4><loc_30><loc_12>"

    def test_no_boxes_are_none(self, processor: GeoDiTProcessor) -> None:
        assert processor.format_answer("detect") == "none"

    def test_arrays_of_boxes(self, processor: GeoDiTProcessor) -> None:
        boxes = np.array([self.RIGHT, self.LEFT], dtype=np.float32)
        expected = processor.format_answer("detect", boxes=[self.RIGHT, self.LEFT], image_size=self.SIZE)
        assert processor.format_answer("detect", boxes=boxes, image_size=self.SIZE) == expected  # type: ignore[arg-type]

    def test_turned_boxes_keep_their_angle_where_the_format_has_one(
        self, image_processor: SiglipImageProcessorPil, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        turned = [(20.0, 30.0), (37.0, 40.0), (32.0, 49.0), (15.0, 39.0)]
        boxes, corners = [[15, 30, 37, 49], self.LEFT], [turned, None]
        for box_format in BOX_FORMATS:
            processor = GeoDiTProcessor(image_processor, tokenizer, box_format=box_format)
            text = processor.format_answer("detect", boxes=boxes, image_size=self.SIZE, corners=corners)
            upright = processor.format_answer("detect", boxes=boxes, image_size=self.SIZE)
            answer = processor.post_process_generation(text, "detect", self.SIZE, "ship")
            assert answer["parsed"]
            if box_format != "geochat":
                assert text == upright
                assert "corners" not in answer
                continue
            assert text == "{<6><47><16><63>|<0>} {<25><54><56><70>|<30>}"
            left, found = answer["corners"]  # from left to right, as boxes
            assert left is None
            assert np.array(found) == pytest.approx(np.array(turned), abs=0.75)

    def test_corners_of_some_boxes_are_refused(self, processor: GeoDiTProcessor) -> None:
        with pytest.raises(ValueError, match="corners for each box"):
            processor.format_answer("detect", boxes=[self.LEFT], image_size=self.SIZE, corners=[None, None])

    def test_a_text_answer_is_stripped(self, processor: GeoDiTProcessor) -> None:
        assert processor.format_answer("vqa", answer=" yes\n") == "yes"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"task": "vqa"}, "by a text that is not empty"),
            ({"task": "vqa", "answer": "yes", "boxes": [LEFT]}, "by no boxes"),
            ({"task": "detect", "answer": "yes"}, "answered by boxes"),
            ({"task": "detect", "boxes": [LEFT]}, "image_size"),
            ({"task": "detect", "boxes": [LEFT], "labels": ["a", "b"], "image_size": SIZE}, "2 for 1 boxes"),
            ({"task": "detect", "boxes": [[0, 0, 65, 9]], "image_size": SIZE}, "leaves the image"),
            ({"task": "segment"}, "Unknown task"),
        ],
    )
    def test_wrong_answers(self, processor: GeoDiTProcessor, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            processor.format_answer(**arguments)


class TestCanvas:
    BOXES = "<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8>"

    def test_canvas_lengths(self, processor: GeoDiTProcessor) -> None:
        assert processor.canvas_length("detect") == 32
        with pytest.raises(ValueError, match="Unknown task 'x'"):
            processor.canvas_length("x")

    def test_the_rest_of_the_canvas_is_eos(self, processor: GeoDiTProcessor) -> None:
        ids = processor.encode_answer("none", 8)
        assert processor.tokenizer.convert_ids_to_tokens(ids) == ["none"] + ["<|endoftext|>"] * 7

    def test_an_answer_may_fill_the_canvas(self, processor: GeoDiTProcessor) -> None:
        ids = processor.encode_answer(self.BOXES, 8)
        assert processor.tokenizer.eos_token_id not in ids
        assert processor.decode_canvas(ids) == self.BOXES

    @pytest.mark.parametrize("length", [4, 5, 7])
    def test_boxes_are_cut_after_a_whole_one(self, processor: GeoDiTProcessor, length: int) -> None:
        ids = processor.encode_answer(self.BOXES, length)
        assert len(ids) == length
        assert processor.decode_canvas(ids) == self.BOXES[:28]

    def test_a_label_without_its_box_is_cut(self, processor: GeoDiTProcessor) -> None:
        ids = processor.encode_answer(f"harbor{self.BOXES[:28]}yes{self.BOXES[28:]}", 9)
        assert processor.decode_canvas(ids) == f"harbor{self.BOXES[:28]}"

    def test_a_box_that_does_not_fit_is_refused(self, processor: GeoDiTProcessor) -> None:
        with pytest.raises(ValueError, match="canvas of 3 tokens: the first needs 4"):
            processor.encode_answer(self.BOXES, 3)

    def test_a_text_is_cut_at_a_token(self, processor: GeoDiTProcessor) -> None:
        ids = processor.encode_answer("A harbor with two ships.", 3)
        assert processor.decode_canvas(ids) == "A harbor with"

    def test_a_canvas_needs_tokens(self, processor: GeoDiTProcessor) -> None:
        with pytest.raises(ValueError, match="canvas_length"):
            processor.encode_answer("none", 0)

    def test_text_up_to_the_first_eos_without_special_tokens(self, processor: GeoDiTProcessor) -> None:
        text = "harbor<|mdm_mask|><loc_5><image><|eot_id|><|endoftext|>yes<|endoftext|>"
        ids = processor.tokenizer(text)["input_ids"]
        assert processor.decode_canvas(ids) == "harbor<loc_5>"

    def test_every_form_of_ids(self, processor: GeoDiTProcessor) -> None:
        row = processor.encode_answer("harbor", 8)
        for ids in (row, tuple(row), np.array(row), list(np.array(row)), torch.tensor(row)):
            assert processor.decode_canvas(ids) == "harbor"
        for ids in ([row, row], np.array([row, row]), torch.tensor([row, row]), [torch.tensor(row)] * 2):
            assert processor.decode_canvas(ids) == ["harbor", "harbor"]

    def test_empty_ids(self, processor: GeoDiTProcessor) -> None:
        assert processor.decode_canvas([]) == ""
        assert processor.decode_canvas(torch.zeros(2, 0, dtype=torch.long)) == ["", ""]

    @pytest.mark.parametrize(
        "ids", [torch.zeros(1, 1, 1), torch.tensor(3), torch.tensor([0.5]), "text", 3, [[[1]]], [None]]
    )
    def test_what_are_no_ids(self, processor: GeoDiTProcessor, ids: Any) -> None:
        with pytest.raises(ValueError, match=r"\(L,\) or \(B, L\)"):
            processor.decode_canvas(ids)

    def test_location_tokens_are_kept_even_if_the_tokenizer_has_them_as_special(
        self, image_processor: SiglipImageProcessorPil
    ) -> None:
        tokenizer = build_tokenizer(["ship"], location_bins=0)
        tokenizer.add_tokens([f"<loc_{index}>" for index in range(8)], special_tokens=True)
        processor = GeoDiTProcessor(image_processor, tokenizer)
        ids = processor.encode_answer("<loc_1><loc_2><loc_3><loc_4>", 6)
        assert processor.decode_canvas(ids) == "<loc_1><loc_2><loc_3><loc_4>"

    def test_special_tokens_without_a_role_are_dropped(self, image_processor: SiglipImageProcessorPil) -> None:
        """LLaDA's own tokenizer has <|eot_id|> marked as special, but not named as such."""
        tokenizer = build_tokenizer(["ship"], location_bins=8)
        tokenizer.extra_special_tokens = ["<image>"]
        assert "<|eot_id|>" not in tokenizer.all_special_tokens
        processor = GeoDiTProcessor(image_processor, tokenizer)
        assert processor.decode_canvas(tokenizer("ship<|eot_id|>")["input_ids"]) == "ship"
        with pytest.raises(ValueError, match="eot_id"):
            processor.format_prompt("vqa", "is this <|eot_id|> safe?")


class TestPostProcess:
    SIZE = (64, 64)

    def test_boxes_take_the_query_as_their_label(self, processor: GeoDiTProcessor) -> None:
        result = processor.post_process_generation(
            "<loc_4><loc_30><loc_10><loc_40>", task="detect", image_size=self.SIZE, query="ship"
        )
        assert result == {
            "text": "<loc_4><loc_30><loc_10><loc_40>",
            "boxes": [[4.5, 30.5, 10.5, 40.5]],
            "labels": ["ship"],
            "parsed": True,
        }

    def test_labels_in_the_text_come_first(self, processor: GeoDiTProcessor) -> None:
        text = "<loc_4><loc_3><loc_10><loc_40>harbor<loc_4><loc_30><loc_10><loc_40>"
        assert processor.post_process_generation(text, "detect", self.SIZE, "ship")["labels"] == [
            "ship",
            "harbor",
        ]
        assert processor.post_process_generation(text, "detect", self.SIZE)["labels"] == ["", "harbor"]

    @pytest.mark.parametrize(
        "rest", ["<loc_5><loc_6>", " and then", "<loc_9><loc_9><loc_4><loc_4>", "<loc_5><loc_5><loc_5><loc_9>"]
    )
    def test_wellformed_boxes_of_an_answer_that_does_not_parse_are_kept(
        self, processor: GeoDiTProcessor, rest: str
    ) -> None:
        text = "<loc_4><loc_30><loc_10><loc_40>" + rest
        assert processor.post_process_generation(text, "detect", self.SIZE, "ship") == {
            "text": text,
            "boxes": [[4.5, 30.5, 10.5, 40.5]],
            "labels": ["ship"],
            "parsed": False,
        }

    @pytest.mark.parametrize(("text", "parsed"), [("none", True), ("", False), ("a ship", False)])
    def test_no_boxes(self, processor: GeoDiTProcessor, text: str, parsed: bool) -> None:
        assert processor.post_process_generation(text, "detect", self.SIZE, "ship") == {
            "text": text,
            "boxes": [],
            "labels": [],
            "parsed": parsed,
        }

    @pytest.mark.parametrize(("text", "stripped", "parsed"), [(" two ships\n", "two ships", True), (" ", "", False)])
    def test_text(self, processor: GeoDiTProcessor, text: str, stripped: str, parsed: bool) -> None:
        assert processor.post_process_generation(text, "caption") == {
            "text": stripped,
            "boxes": [],
            "labels": [],
            "parsed": parsed,
        }

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"text": ["none"], "task": "detect"}, "one answer as a string, got list"),
            ({"text": "none", "task": "detect"}, "image_size"),
            ({"text": "none", "task": "detect", "image_size": (0, 4)}, "image_size"),
            ({"text": "none", "task": "x"}, "Unknown task"),
        ],
    )
    def test_wrong_arguments(self, processor: GeoDiTProcessor, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            processor.post_process_generation(**arguments)


@pytest.fixture(scope="module")
def processors(
    image_processor: SiglipImageProcessorPil, tokenizer: PreTrainedTokenizerFast
) -> dict[str, GeoDiTProcessor]:
    return {name: GeoDiTProcessor(image_processor, tokenizer, box_format=name) for name in BOX_FORMATS}


@given(st.data())
def test_an_answer_survives_its_canvas(processors: dict[str, GeoDiTProcessor], data: st.DataObject) -> None:
    """Boxes -> text -> token ids -> text -> boxes, in every format."""
    processor = processors[data.draw(st.sampled_from(BOX_FORMATS))]
    size = (100, 160)
    side = st.floats(4, 40)
    corners = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 60), side, side), min_size=0, max_size=4)
    boxes = [[x, y, x + width, y + height] for x, y, width, height in data.draw(corners)]

    answer = processor.format_answer("detect", boxes=boxes, image_size=size)
    canvas = processor.encode_answer(answer, 128)
    result = processor.post_process_generation(processor.decode_canvas(canvas), "detect", size, "ship")  # type: ignore[arg-type]

    assert result["parsed"]
    assert result["labels"] == ["ship"] * len(boxes)
    for box, decoded in zip(sorted(boxes, key=lambda box: box[:2]), result["boxes"], strict=True):
        assert decoded == pytest.approx(box, abs=160 / 64 / 2)


@given(st.data())
def test_any_canvas_can_be_read(compact_processor: GeoDiTProcessor, data: st.DataObject) -> None:
    ids = st.integers(0, len(compact_processor.tokenizer) - 1)
    canvas = data.draw(st.lists(ids, min_size=8, max_size=8))
    text = compact_processor.decode_canvas(canvas)
    assert isinstance(text, str)
    for task in DEFAULT_TASKS:
        result = compact_processor.post_process_generation(text, task, (40, 60), "ship")
        assert len(result["boxes"]) == len(result["labels"])

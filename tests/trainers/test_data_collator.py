# SPDX-License-Identifier: Apache-2.0
"""A row is [image][prompt][canvas][padding], and only the canvas is to be learnt."""

import torch

from geodit.data.schema import Question
from geodit.trainers.data_collator import GeoDiTDataCollator


def test_the_canvas_holds_the_answer_and_eos_up_to_the_length_of_the_task(model_and_processor, items):
    _, processor = model_and_processor
    batch = GeoDiTDataCollator(processor)(items[:3])
    lengths = (batch["labels"] != -100).sum(-1).tolist()
    assert lengths == [32, 16, 8]
    canvases = [row[row != -100] for row in batch["labels"]]
    # Boxes from left to right, in sixteen bins of six pixels.
    assert processor.decode_canvas(canvases[0]) == "<loc_0><loc_0><loc_5><loc_5><loc_1><loc_3><loc_6><loc_8>"
    assert processor.decode_canvas(canvases[1]) == "a harbor with two ships"
    assert processor.decode_canvas(canvases[2]) == "2"
    assert (canvases[2][1:] == processor.tokenizer.eos_token_id).all()


def test_prompts_are_those_that_generation_starts_from(model_and_processor, items):
    _, processor = model_and_processor
    batch = GeoDiTDataCollator(processor)(items[:3])
    for row, item in enumerate(items[:3]):
        question = item["question"]
        alone = processor(images=item["image"], text=question.query, task=question.task, return_tensors="pt")
        real = batch["attention_mask"][row].bool() & (batch["labels"][row] == -100)
        assert torch.equal(batch["input_ids"][row][real], alone["input_ids"][0])


def test_padding_is_outside_the_attention_mask(model_and_processor, items):
    _, processor = model_and_processor
    batch = GeoDiTDataCollator(processor)(items[:3])
    padding = batch["attention_mask"] == 0
    assert padding.any()
    assert (batch["input_ids"][padding] == processor.tokenizer.pad_token_id).all()
    assert (batch["labels"][padding] == -100).all()


def test_text_alone_needs_no_image(model_and_processor):
    _, processor = model_and_processor
    item = {
        "image": None,
        "context": "harbor: ship<loc_3><loc_4><loc_5><loc_6>",
        "question": Question("detect", query="ship", boxes=((18, 24, 36, 42),), labels=("ship",)),
        "image_size": (96, 96),
    }
    batch = GeoDiTDataCollator(processor)([item])
    assert "pixel_values" not in batch
    assert processor.image_token_id not in batch["input_ids"]
    text = processor.tokenizer.decode(batch["input_ids"][0])
    assert text.startswith("harbor: ship<loc_3><loc_4><loc_5><loc_6><|user|>Detect: ship.<|assistant|>")
    canvas = batch["labels"][0][batch["labels"][0] != -100]
    assert processor.decode_canvas(canvas) == "<loc_3><loc_4><loc_6><loc_7>"


def test_questions_about_one_image_share_its_row(model_and_processor, items):
    """The same tokens at the same positions as in a row of their own, and one image for all of them."""
    _, processor = model_and_processor
    collate = GeoDiTDataCollator(processor)
    image, questions = items[0]["image"], [item["question"] for item in items[:3]]
    shared = collate([{"image": image, "questions": questions}])
    assert shared["pixel_values"].shape[0] == 1
    n = processor.num_image_tokens
    assert shared["segment_ids"][0, :n].eq(0).all()
    for segment, question in enumerate(questions, start=1):
        alone = collate([{"image": image, "question": question}])
        inside = shared["segment_ids"][0] == segment
        for name in ("input_ids", "labels"):
            assert torch.equal(shared[name][0][inside], alone[name][0, n:])
        positions = shared["position_ids"][0][inside]
        assert positions.tolist() == list(range(n, n + len(positions)))

# SPDX-License-Identifier: Apache-2.0
"""Training on images in tiles: as many placeholders as features, and several questions about an image all the same."""

import pytest
import torch
from PIL import Image

from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.trainable import set_trainable_parts
from on_device import OnDevice
from tiny_models import build_model


@pytest.fixture
def tiling_model_and_processor():
    model, processor = build_model(
        vision={"image_size": 48, "patch_size": 16}, vision_aspect_ratio="anyres_max_4", attention_mode="prefix"
    )
    return OnDevice(model), processor


def resized(items, *sizes):
    """The same questions about images of these sizes (height, width)."""
    return [
        {**item, "image": item["image"].resize((width, height), Image.Resampling.NEAREST)}
        for item, (height, width) in zip(items, sizes, strict=False)
    ]


def test_model_and_processor_of_a_geometry_cut_the_same_tiles(tiling_model_and_processor):
    model, processor = tiling_model_and_processor
    assert processor.vision_aspect_ratio == model.config.vision_aspect_ratio
    assert processor.image_processor.image_grid_pinpoints == model.config.image_grid_pinpoints


@torch.no_grad()
def test_images_of_different_sizes_make_a_batch(tiling_model_and_processor, items):
    model, processor = tiling_model_and_processor
    items = resized(items, (96, 96), (60, 200), (30, 30))
    batch = GeoDiTDataCollator(processor)(items)
    assert set(batch) == {"input_ids", "attention_mask", "labels", "pixel_values", "image_sizes"}
    assert batch["image_sizes"].tolist() == [[96, 96], [60, 200], [30, 30]]
    found = (batch["input_ids"] == processor.image_token_id).sum(-1).tolist()
    assert found == [processor.count_image_tokens(size) for size in ((96, 96), (60, 200), (30, 30))]
    for row, item in enumerate(items):
        question = item["question"]
        alone = processor(images=item["image"], text=question.query, task=question.task, return_tensors="pt")
        prompt = batch["attention_mask"][row].bool() & (batch["labels"][row] == -100)
        assert torch.equal(batch["input_ids"][row][prompt], alone["input_ids"][0])
    labels = batch.pop("labels")
    assert model(**batch, canvas_mask=labels != -100, labels=labels).loss.isfinite()


@torch.no_grad()
def test_questions_that_share_the_row_of_their_image_are_answered_as_alone(tiling_model_and_processor, items):
    model, processor = tiling_model_and_processor
    collate = GeoDiTDataCollator(processor)
    (item,) = resized(items, (60, 200))
    questions = [item["question"] for item in items[:2]]
    shared = collate([{"image": item["image"], "questions": questions}])
    assert shared["pixel_values"].shape[0] == 1
    logits = model(**{**shared, "labels": None}, canvas_mask=shared["labels"] != -100).logits
    for segment, question in enumerate(questions, start=1):
        alone = collate([{"image": item["image"], "question": question}])
        canvas = alone["labels"] != -100
        expected = model(**{**alone, "labels": None}, canvas_mask=canvas, logits_to_keep=canvas).logits
        inside = (shared["segment_ids"] == segment) & (shared["labels"] != -100)
        torch.testing.assert_close(logits[inside], expected, atol=1e-5, rtol=1e-5)


def test_the_vector_that_ends_the_rows_belongs_to_the_text_core(tiling_model_and_processor):
    model, _ = tiling_model_and_processor
    for part, trained in (("projector", False), ("language_model", True)):
        set_trainable_parts(model.wrapped, [part])
        assert model.model.image_newline.requires_grad is trained


def test_conversations_see_the_same_tiles(tiling_model_and_processor, items):
    _, processor = tiling_model_and_processor
    (item,) = [item for item in resized(items[2:3], (60, 200)) if item["question"].task == "vqa"]
    question = item["question"]
    turns = [{"role": "user", "content": question.query}, {"role": "assistant", "content": question.answer}]
    batch = GeoDiTDataCollator(processor, max_new_tokens=8)([{"messages": turns, "images": [item["image"]]}])
    expected = GeoDiTDataCollator(processor)([item])
    assert batch.keys() == expected.keys()
    assert all(torch.equal(batch[name], expected[name]) for name in batch)

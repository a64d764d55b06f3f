# SPDX-License-Identifier: Apache-2.0
"""Batches know their items, and the model never sees more than its inputs."""

import torch

from geodit.data.schema import TASKS, QuestionDataset, make_dataset, make_row
from geodit.tiny.scenes.text import SceneTextDataset
from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.item_records import ItemRecordCollator, item_id, model_inputs
from geodit.trainers.runs.training_data import ImageQuestions


def test_items_are_named_by_image_and_place_of_the_question(model_and_processor, items):
    _, processor = model_and_processor
    rows = [make_row(items[0]["image"], "harbor", [item["question"] for item in items[:3]])]
    flat = QuestionDataset(make_dataset(rows))
    assert [item_id(flat[index]) for index in range(3)] == ["harbor#0", "harbor#1", "harbor#2"]
    grouped = ImageQuestions(make_dataset(rows), processor, questions_per_row=2)
    assert [item_id(grouped[index]) for index in range(2)] == ["harbor#0-1", "harbor#2"]
    single = ImageQuestions(make_dataset(rows), processor)
    assert item_id(single[1]) == "harbor#1"
    assert item_id(items[0]) == "unnamed image (detect ship)"


def test_a_question_keeps_its_place_if_others_are_left_out(items):
    rows = [make_row(items[0]["image"], "harbor", [item["question"] for item in items[:3]])]
    assert item_id(QuestionDataset(make_dataset(rows), tasks=["vqa"])[0]) == "harbor#2"


def test_scenes_in_words_have_names_too():
    scenes = SceneTextDataset(1, first_scene=7, seed=0, encode_boxes=lambda boxes, size: "", questions_per_row=3)
    assert [item_id(scenes[index]) for index in range(2)] == ["text-7#0-2", "text-7#3-5"]


def test_the_tasks_of_a_batch_are_in_the_order_of_its_answers(model_and_processor, items):
    _, processor = model_and_processor
    image, questions = items[0]["image"], [item["question"] for item in items[:3]]
    rows = [{"image": image, "questions": questions[:2]}, {"image": image, "questions": questions[2:]}]
    batch = ItemRecordCollator(GeoDiTDataCollator(processor))(rows)
    assert [TASKS[index] for index in batch["task_ids"].tolist()] == ["detect", "caption", "vqa"]
    assert len(batch["item_ids"]) == 2


def test_the_model_gets_its_inputs_and_nothing_else(model_and_processor, items):
    _, processor = model_and_processor
    plain = GeoDiTDataCollator(processor)(items[:2])
    inputs = model_inputs(ItemRecordCollator(GeoDiTDataCollator(processor))(items[:2]))
    assert inputs.keys() == plain.keys() - {"labels"}
    twice = model_inputs(plain, copies=2)
    for name, value in twice.items():
        assert torch.equal(value, torch.cat([inputs[name], inputs[name]]))


def test_batches_of_something_else_are_left_alone():
    assert ItemRecordCollator(lambda items: {"pixels": len(items)})([{"pixels": 1}]) == {"pixels": 1}

# SPDX-License-Identifier: Apache-2.0
"""Pictures of what the model answers, every so often, without a trace in the training itself."""

import json

import pytest
import torch
from PIL import Image

from geodit.pipelines.visualization import draw_answer
from geodit.trainers.sample_callback import SampleCallback, choose_samples


def train(make_trainer, make_model, items, folder, draw=None, **arguments):
    model, processor = make_model()
    callbacks = [SampleCallback(processor, choose_samples(items, 3), draw)] if arguments else []
    trainer = make_trainer(model, processor, items, folder, max_steps=4, callbacks=callbacks, **arguments)
    trainer.train()
    return model.state_dict(), trainer


def test_samples_are_drawn_and_training_goes_on_as_without(make_trainer, make_model, items, tmp_path):
    plain, _ = train(make_trainer, make_model, items, tmp_path / "plain")
    sampled, trainer = train(make_trainer, make_model, items, tmp_path / "sampled", draw_answer, sample_every_steps=2)
    for name, value in plain.items():
        assert sampled[name].equal(value), name
    assert trainer.model.training
    folder = tmp_path / "sampled" / "samples"
    assert sorted(path.name for path in folder.iterdir()) == ["step-000002", "step-000004"]
    files = sorted(path.name for path in (folder / "step-000004").iterdir())
    # Three of eight items, evenly spread: the first, the third and the sixth.
    assert files == ["00-detect.png", "01-vqa.png", "02-vqa.png", "answers.json"]
    with Image.open(folder / "step-000004" / "00-detect.png") as picture:
        assert picture.width >= 480
        assert picture.height > picture.width  # the image, with what was said below
    records = json.loads((folder / "step-000004" / "answers.json").read_text())
    assert [record["question"]["task"] for record in records] == ["detect", "vqa", "vqa"]
    assert records[0]["item"] == "unnamed image (detect ship)"
    assert {"text", "boxes", "labels", "parsed"} == records[0]["answer"].keys()


def test_without_a_drawing_function_the_answers_are_kept(make_trainer, make_model, items, tmp_path):
    train(make_trainer, make_model, items, tmp_path, sample_every_steps=4)
    assert [path.name for path in (tmp_path / "samples" / "step-000004").iterdir()] == ["answers.json"]


def test_several_questions_of_an_image_take_turns(items):
    questions = [item["question"] for item in items[:3]]
    rows = [{"image": items[0]["image"], "questions": questions, "image_id": "a", "question_index": 0}] * 3
    assert [sample.question.task for sample in choose_samples(rows, 3)] == ["detect", "caption", "vqa"]


def test_a_stream_gives_its_first_items(items):
    assert [sample.question for sample in choose_samples(iter(items), 2)] == [i["question"] for i in items[:2]]


def test_there_must_be_images_and_someone_to_draw_them(make_trainer, model_and_processor, items, tmp_path):
    with pytest.raises(ValueError, match="needs held-out questions about images"):
        choose_samples([{"image": None, "question": items[0]["question"]}], 1)
    with pytest.raises(ValueError, match="needs held-out questions about images"):
        choose_samples([{"image": items[0]["image"], "messages": []}, {"images": [], "messages": []}], 2)
    with pytest.raises(ValueError, match="needs a SampleCallback among the callbacks"):
        make_trainer(*model_and_processor, items, tmp_path, sample_every_steps=1)
    assert torch.is_grad_enabled()

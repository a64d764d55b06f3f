# SPDX-License-Identifier: Apache-2.0
"""Pictures of what the model answers, every so often, without a trace in the training itself."""

import importlib.util
import json
import re

import pytest
import torch
from PIL import Image

from geodit.pipelines.visualization import draw_answer
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.processing.tasks_geodit import DEFAULT_TASKS, Task
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


class TestBoxesInNumbers:
    """The network has random weights, and writes no boxes by itself."""

    @pytest.fixture
    def answers(self, make_model, make_trainer, items, tmp_path):
        """Training goes to its end; the answers to `detect` on the way, as they were written."""
        model, parts = make_model()

        def answer(canvas_length=48):
            task = Task("detect", "Detect: {query}.", canvas_length, "boxes")
            processor = GeoDiTProcessor(
                parts.image_processor,
                parts.tokenizer,
                parts.chat_template,
                tasks={**DEFAULT_TASKS, "detect": task},
                box_format="integers_100",
                num_image_tokens=parts.num_image_tokens,
            )
            watch = SampleCallback(processor, choose_samples(items, len(items)))
            options = {"max_steps": 1, "callbacks": [watch], "sample_every_steps": 1}
            make_trainer(model, processor, items, tmp_path, **options).train()
            records = json.loads((tmp_path / "samples" / "step-000001" / "answers.json").read_text())
            texts = [one["answer"]["text"] for one in records if one["question"]["task"] == "detect"]
            assert len(texts) == 3
            return [bool(re.fullmatch(processor.box_codec.answer_expression, text)) for text in texts]

        return answer

    def test_they_follow_their_pattern(self, answers):
        pytest.importorskip("outlines_core")
        assert answers() == [True] * 3

    def test_without_the_library_they_are_free(self, answers, monkeypatch):
        find_spec = importlib.util.find_spec
        monkeypatch.setattr(
            "importlib.util.find_spec", lambda name, *rest: None if name == "outlines_core" else find_spec(name, *rest)
        )
        assert answers() == [False] * 3

    def test_a_canvas_without_room_for_one_is_refused_before_training(self, answers, tmp_path):
        with pytest.raises(ValueError, match="an answer to detect has at most 8: give the task a larger max_new_tok"):
            answers(canvas_length=8)
        assert not any(tmp_path.iterdir())


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


def test_tensorboard_shows_the_pictures(make_trainer, make_model, items, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(make_trainer, make_model, items, tmp_path, draw_answer, sample_every_steps=2, report_to="tensorboard")
    events = accumulator.EventAccumulator(str(tmp_path / "runs" / "samples")).Reload()
    assert events.Tags()["images"] == ["samples/00-detect", "samples/01-vqa", "samples/02-vqa"]

# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest
import torch

from geodit.configuration.decoding_options import DecodingOptions
from geodit.data.schema import TASKS, QuestionDataset
from geodit.evaluation.answerers import answers_of
from geodit.evaluation.evaluate import evaluate_model
from geodit.evaluation.scoring import score_answers
from tiny_models import build_model


class ScriptedModel:
    """Gives prepared answers in the order in which they are asked for: task by task."""

    device = torch.device("cpu")
    training = True

    def __init__(self, processor, dataset, change=lambda question, answer: answer):
        questions = sorted(QuestionDataset(dataset).questions, key=lambda question: TASKS.index(question.task))
        # Before anything is asked: then a thread uses the tokenizer.
        self.canvases = [
            torch.tensor(
                processor.encode_answer(
                    change(
                        question,
                        processor.format_answer(
                            question.task, question.answer, question.boxes, question.labels, image_size=(32, 32)
                        ),
                    ),
                    processor.canvas_length(question.task),
                )
            )
            for question in questions
        ]
        self.calls = []

    def train(self, mode=True):
        self.training = mode

    def generate_many(self, batches, *, max_new_tokens, **kwargs):
        """Answers batch by batch, and within a batch the last question first."""
        assert not self.training
        first = 0
        for batch in batches:
            count = len(batch.pop("input_ids"))
            assert len(batch.pop("pixel_values")) == len(batch.pop("attention_mask")) == count
            self.calls.append({"batch": count, "max_new_tokens": max_new_tokens, **kwargs, **batch})
            canvases = [self.canvases.pop(0) for _ in range(count)]
            for row, canvas in reversed(list(enumerate(canvases))):
                assert max_new_tokens == len(canvas)
                sure = torch.full(canvas.shape, 0.75)
                yield SimpleNamespace(
                    index=first + row,
                    canvas=canvas,
                    commit_steps=torch.arange(len(canvas)) % 8,
                    steps_made=8,
                    confidences=sure,
                    end_probabilities=1 - sure,
                )
            first += count


def test_right_answers_get_full_marks(processor, dataset):
    result = evaluate_model(ScriptedModel(processor, dataset), processor, dataset, batch_size=3)
    figures = result.figures
    assert figures["ground"]["accuracy"] == 1
    assert figures["ground"]["mean_iou"] > 0.8, "location tokens round by half a bin"
    assert figures["detect"]["f1"] == figures["detect"]["empty_accuracy"] == 1
    assert figures["vqa"]["accuracy"] == figures["classify"]["accuracy"] == 1
    assert figures["caption"]["bleu4"] == pytest.approx(1, abs=0.1)
    assert result.parse_rate == 1
    assert (result.num_images, len(result.answers), result.mean_steps) == (4, 28, 8)


def test_answers_keep_the_order_of_the_data_set(processor, dataset):
    result = evaluate_model(ScriptedModel(processor, dataset), processor, dataset, batch_size=5)
    assert [answer.question for answer in result.answers] == QuestionDataset(dataset).questions
    assert [answer.image_id for answer in result.answers] == [f"image-{i}" for i in range(4) for _ in range(7)]


def test_a_batch_is_of_one_task(processor, dataset):
    model = ScriptedModel(processor, dataset)
    evaluate_model(model, processor, dataset, batch_size=6)
    sizes = [(call["batch"], call["max_new_tokens"]) for call in model.calls]
    assert sizes == [(4, 16), (4, 8), (6, 32), (2, 32), (6, 8), (2, 8), (4, 8)]


def test_unreadable_answers_count_as_wrong(processor, dataset):
    def scramble(question, answer):
        return "some water" if question.task in ("ground", "detect") else answer

    result = evaluate_model(ScriptedModel(processor, dataset, scramble), processor, dataset)
    assert result.figures["ground"]["accuracy"] == result.figures["ground"]["parse_rate"] == 0
    assert result.figures["detect"]["recall"] == result.figures["detect"]["parse_rate"] == 0
    assert result.figures["vqa"]["accuracy"] == 1
    assert result.parse_rate == pytest.approx(16 / 28)


def test_settings_reach_the_model(processor, dataset):
    model = ScriptedModel(processor, dataset)
    settings = DecodingOptions(
        max_denoising_steps=4, remasking="random", temperature=0.5, guidance_scale=1.5, block_length=4, seed=3
    )
    evaluate_model(model, processor, dataset, settings)
    call = model.calls[0]
    names = ("max_denoising_steps", "remasking", "temperature", "guidance_scale", "block_length")
    assert [call[name] for name in names] == [4, "random", 0.5, 1.5, 4]
    assert len(call["generator"]) == call["batch"]


def test_the_training_mode_is_restored_even_after_a_failure(processor, dataset):
    model = ScriptedModel(processor, dataset)
    model.canvases.clear()
    with pytest.raises(IndexError):
        evaluate_model(model, processor, dataset)
    assert model.training


def test_answers_can_be_scored_again_without_the_model(processor, dataset):
    result = evaluate_model(ScriptedModel(processor, dataset), processor, dataset, bootstrap=20)
    assert score_answers(result.answers, bootstrap=20) == result.figures


def test_progress_is_reported(processor, dataset):
    reports = []
    evaluate_model(
        ScriptedModel(processor, dataset),
        processor,
        dataset,
        batch_size=10,
        progress=lambda done, total: reports.append((done, total)),
    )
    assert reports == [(done, 28) for done in range(1, 29)]


def test_boxes_are_well_formed_unless_that_is_turned_off(model, processor, dataset):
    def parse_rates(**options):
        figures = evaluate_model(model, processor, dataset, DecodingOptions(max_denoising_steps=2, **options)).figures
        return [figures[task]["parse_rate"] for task in ("ground", "detect")]

    assert parse_rates() == [1, 1]
    assert max(parse_rates(structured=False)) < 1


def test_a_question_for_several_classes_is_answered_freely(processor, dataset):
    def ask_for_both(row):
        detect = {**row["questions"][2], "query": "ship, tree"}
        return {"questions": [*row["questions"][2:4], detect]}

    several = dataset.map(ask_for_both, features=dataset.features, load_from_cache_file=False)
    model = ScriptedModel(processor, several)
    evaluate_model(model, processor, several)
    assert [(call["batch"], call["answer_pattern"] is None) for call in model.calls] == [(8, False), (4, True)]


def test_answers_of_a_closed_set_are_those_of_the_whole_data_set(model, processor, dataset):
    settings = DecodingOptions(max_denoising_steps=2, closed_set=("vqa",))
    answers = evaluate_model(model, processor, dataset, settings, tasks=["vqa"], limit=1).answers
    assert answers_of(dataset, "vqa") == ["1", "2", "3", "4", "yes"]
    assert {answer.text for answer in answers} <= set(answers_of(dataset, "vqa"))
    free = evaluate_model(
        model, processor, dataset, DecodingOptions(max_denoising_steps=2), tasks=["vqa"], limit=1
    ).answers
    assert not {answer.text for answer in free} <= set(answers_of(dataset, "vqa"))


@pytest.mark.parametrize(
    ("task", "message"), [("detect", "no answers to detect"), ("classify", "no answers to classify")]
)
def test_a_closed_set_needs_answers(model, processor, dataset, task, message):
    without = dataset.map(lambda row: {"questions": row["questions"][:-1]}, load_from_cache_file=False)
    with pytest.raises(ValueError, match=message):
        evaluate_model(model, processor, without, DecodingOptions(closed_set=(task,)))


def test_a_real_model(model, processor, dataset):
    result = evaluate_model(
        model, processor, dataset, DecodingOptions(max_denoising_steps=2), tasks=["detect", "vqa"], limit=3
    )
    assert list(result.figures) == ["detect", "vqa"]
    assert (result.num_images, len(result.answers), result.mean_steps) == (3, 12, 2)
    assert result.seconds > 0


def test_the_answer_to_a_question_does_not_depend_on_its_batch(model, processor, dataset):
    def texts(**options):
        answers = evaluate_model(model, processor, dataset, settings, **options).answers
        return [answer.text for answer in answers if answer.question.task == "vqa"]

    settings = DecodingOptions(max_denoising_steps=2, remasking="random", temperature=1.0, seed=5)
    together = texts(batch_size=8)
    assert texts(batch_size=3, tasks=["vqa"]) == together
    assert texts(batch_size=1, limit=2) == together[:4]


def test_the_seed_decides_what_is_drawn(model, processor, dataset):
    def texts(seed):
        settings = DecodingOptions(max_denoising_steps=2, temperature=1.0, seed=seed)
        return [a.text for a in evaluate_model(model, processor, dataset, settings, tasks=["caption"]).answers]

    assert texts(1) == texts(1) != texts(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"tasks": ["segment"]}, "unknown tasks.*the tasks are caption, ground"),
        ({"tasks": []}, "has no question"),
    ],
)
def test_bad_arguments_are_refused(model, processor, dataset, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate_model(model, processor, dataset, **options)


def test_wellformed_boxes_of_answers_that_break_off_are_kept_and_scored_apart(processor, dataset):
    def break_off(question, answer):
        return answer + "<loc_0>" if question.task == "detect" and question.boxes else answer

    result = evaluate_model(ScriptedModel(processor, dataset, break_off), processor, dataset)
    cut_off = [answer for answer in result.answers if answer.question.task == "detect" and answer.question.boxes]
    assert len(cut_off) == 6
    assert all(not answer.parsed and len(answer.boxes) == 1 for answer in cut_off)
    figures = result.to_dict()["figures"]["detect"]
    assert (figures["recall"], figures["f1"]) == (0, 0)
    assert figures["recall_keep_wellformed"] == figures["f1_keep_wellformed"] == 1


def test_a_data_set_without_questions_of_the_task(model, processor, dataset):
    no_questions = dataset.map(lambda row: {"questions": row["questions"][:1]}, load_from_cache_file=False)
    with pytest.raises(ValueError, match="4 images has no question of detect"):
        evaluate_model(model, processor, no_questions, tasks=["detect"])


def test_a_model_that_sees_images_in_tiles_is_asked_in_the_same_way(dataset):
    model, processor = build_model(vision={"image_size": 16, "patch_size": 8}, vision_aspect_ratio="anyres_max_4")
    result = evaluate_model(
        model, processor, dataset, DecodingOptions(max_denoising_steps=2), tasks=["detect"], batch_size=3
    )
    assert [answer.image_size for answer in result.answers] == [(32, 32)] * 8

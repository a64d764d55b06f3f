# SPDX-License-Identifier: Apache-2.0
"""Answers are kept as they come: a run that is cut off asks no question twice, and ends with the same answers."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geodit.configuration.decoding_options import DecodingOptions
from geodit.data.schema import Question, make_dataset, make_row
from geodit.evaluation.answer_store import AnswerStore, KeptAnswers, questions_digest, read_answer_store
from geodit.evaluation.answerers import collect_answers
from geodit.evaluation.answers import AnswerRecord
from geodit.evaluation.generating import GeoDiTAnswerer, generate_answers

ASKED = {"model": "geodit-tiny", "settings": {"max_denoising_steps": 2}}


def record(number=0, **changes):
    plain = {
        "image_id": f"image-{number}",
        "image_size": (32, 48),
        "question": Question("detect", "ship", boxes=((1.0, 2.0, 3.0, 4.0),), labels=("ship",)),
        "text": "<loc_1><loc_2><loc_3><loc_4>",
        "boxes": ((1.5, 2.0, 3.0, 4.0),),
        "labels": ("ship",),
        "parsed": True,
        "num_steps": 2,
        "scores": (0.1 + 0.2,),
    }
    return AnswerRecord(**{**plain, **changes})


def test_answers_come_back_as_they_were(tmp_path):
    turned = record(1, corners=(((1.0, 2.0), (3.0, 2.0), (3.0, 4.0), (1.0, 4.0)),))
    with AnswerStore(tmp_path, ASKED) as store:
        store.add(3, turned)
        store.add(0, record())
    assert read_answer_store(tmp_path, ASKED)[0] == {0: record(), 3: turned}
    with AnswerStore(tmp_path, ASKED) as again:
        assert again.answers == {0: record(), 3: turned}


def test_each_process_has_a_file_and_all_are_read(tmp_path):
    for process in range(3):
        with AnswerStore(tmp_path, ASKED, process) as store:
            store.add(process, record(process))
    assert list(read_answer_store(tmp_path, ASKED)[0]) == [0, 1, 2]


@pytest.mark.parametrize("other", [{**ASKED, "model": "another"}, {"model": "geodit-tiny"}, {**ASKED, "seed": 1}])
def test_answers_of_other_settings_are_never_mixed(tmp_path, other):
    with AnswerStore(tmp_path, ASKED) as store:
        store.add(0, record())
    with pytest.raises(ValueError, match=r"answers of another job, with another (model|settings|seed)"):
        AnswerStore(tmp_path, other)
    assert read_answer_store(tmp_path, ASKED)[0] == {0: record()}


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_what_a_crash_left_of_a_line_is_asked_again(tmp_path, data):
    path = tmp_path / "answers-0.jsonl"
    path.unlink(missing_ok=True)
    with AnswerStore(tmp_path, ASKED) as store:
        for number in range(4):
            store.add(number, record(number))
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    complete = max(whole[:cut].count(b"\n") - 1, 0)
    with AnswerStore(tmp_path, ASKED) as store:
        assert list(store.answers) == list(range(complete))
        for number in range(complete, 4):
            store.add(number, record(number))
    assert path.read_bytes() == whole


def test_a_line_that_is_no_answer_is_one_error(tmp_path):
    with AnswerStore(tmp_path, ASKED) as store:
        store.add(0, record())
    path = tmp_path / "answers-0.jsonl"
    header, _ = path.read_text().splitlines()
    path.write_text(f"{header}\n" + json.dumps({"number": 0, "text": "none"}) + "\n")
    with pytest.raises(ValueError, match=r"answers-0\.jsonl is damaged"):
        read_answer_store(tmp_path, ASKED)


class Stop:
    """Stops an evaluation after some answers."""

    def __init__(self, after):
        self.after = after

    def __call__(self, done, total):
        if done == self.after:
            raise KeyboardInterrupt


def test_stopped_five_times_it_ends_with_the_same_answers(model, processor, dataset, tmp_path):
    options = DecodingOptions(max_denoising_steps=2, temperature=1.0, seed=3)
    whole = generate_answers(model, processor, dataset, options, batch_size=3)
    for stop in range(5):
        with AnswerStore(tmp_path, ASKED) as store, pytest.raises(KeyboardInterrupt):
            generate_answers(
                model, processor, dataset, options, batch_size=3, store=store, progress=Stop(4 * stop + 2)
            )
    with AnswerStore(tmp_path, ASKED) as store:
        answers = generate_answers(model, processor, dataset, options, batch_size=3, store=store)
    assert [(one.question, one.text, one.boxes) for one in answers] == [
        (one.question, one.text, one.boxes) for one in whole
    ]
    lines = (tmp_path / "answers-0.jsonl").read_text().splitlines()[1:]
    assert sorted(json.loads(line)["number"] for line in lines) == list(range(len(whole)))


def test_processes_share_the_questions(model, processor, dataset, tmp_path):
    options = DecodingOptions(max_denoising_steps=2, seed=0)
    whole = generate_answers(model, processor, dataset, options)
    for process in range(2):
        with AnswerStore(tmp_path, ASKED, process) as store:
            generate_answers(model, processor, dataset, options, store=store, share=(process, 2))
        lines = (tmp_path / f"answers-{process}.jsonl").read_text().splitlines()[1:]
        assert 10 < len(lines) < 18
    found, _ = read_answer_store(tmp_path, ASKED)
    assert [one.text for one in found.values()] == [one.text for one in whole]


def test_the_digest_follows_the_questions():
    def rows(*names, query="ship"):
        question = Question("detect", query, boxes=((1.0, 2.0, 3.0, 4.0),), labels=(query,))
        from PIL import Image

        return make_dataset([make_row(Image.new("RGB", (8, 8)), name, [question]) for name in names])

    digest = questions_digest(rows("a", "b"))
    assert digest == questions_digest(rows("a", "b"))
    others = [rows("b", "a"), rows("a"), rows("a", "b", query="tree")]
    assert len({digest, *(questions_digest(other) for other in others)}) == 4
    assert questions_digest(rows("a", "b"), ["detect"]) != digest


def test_answers_of_a_model_that_was_trained_again_are_not_mixed(model, processor, dataset, tmp_path):
    answerer = GeoDiTAnswerer(model, processor, DecodingOptions(max_denoising_steps=1))
    keep = KeptAnswers(tmp_path, "runs/stage2")
    first = collect_answers(answerer, dataset, tasks=["vqa"], keep=keep)
    assert collect_answers(answerer, dataset, tasks=["vqa"], keep=keep).answers == first.answers
    retrained = copy.deepcopy(model)
    with torch.no_grad():
        next(retrained.parameters()).add_(1e-3)
    with pytest.raises(ValueError, match="with another weights"):
        collect_answers(replace(answerer, model=retrained), dataset, tasks=["vqa"], keep=keep)


def test_a_closed_set_is_that_of_the_whole_data_set_whatever_the_limit(model, processor, dataset, tmp_path):
    answerer = GeoDiTAnswerer(model, processor, DecodingOptions(max_denoising_steps=1, closed_set=("vqa",)))
    limited = collect_answers(answerer, dataset, tasks=["vqa"], limit=1).answers
    whole = collect_answers(answerer, dataset, tasks=["vqa"]).answers
    assert limited == whole[: len(limited)]

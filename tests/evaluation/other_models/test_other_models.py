# SPDX-License-Identifier: Apache-2.0
"""Models of other families, tiny and random but of the real classes, answer our questions."""

import json
from itertools import pairwise

import pytest
import torch
from PIL import Image

from geodit.data.schema import Question, QuestionDataset, make_dataset, make_row
from geodit.evaluation.other_models.families import Prompt, get_family
from geodit.evaluation.other_models.generators import TransformersGenerator, pad_to_square
from geodit.evaluation.other_models.loading import is_geodit, load_other_model
from geodit.evaluation.other_models.model import GenerationTiming, OtherModel
from geodit.evaluation.scoring import score_answers
from guide_reader import blocks_of
from other_tiny_models import MAKERS, llava, save_checkpoint

FAMILIES = sorted(MAKERS)
SHORT = {"caption": 6, "ground": 6, "detect": 6, "vqa": 4, "classify": 4}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: save_checkpoint(name, folder / f"tiny-{index}") for index, name in enumerate(FAMILIES)}


@pytest.fixture(scope="module")
def scenes():
    """Images of two shapes with a question of every task each."""
    rows = []
    for index, size in enumerate([(100, 50), (40, 80), (60, 60)]):
        box = (4.0, 5.0, 20.0 + index, 30.0)
        questions = [
            Question("vqa", "How many ships are there?", str(index), kind="count"),
            Question("caption", answer="a ship", references=("a ship",)),
            Question("ground", "the red ship", boxes=(box,), labels=("ship",)),
            Question("detect", "ship", boxes=(box,), labels=("ship",)),
            Question("classify", answer="port"),
        ]
        image = Image.effect_noise(size, 90).convert("RGB")
        rows.append(make_row(image, f"scene-{index}", questions))
    return make_dataset(rows)


def items_of(dataset, task):
    questions = QuestionDataset(dataset, [task])
    return [questions[index] for index in range(len(questions))]


def write(monkeypatch, generator, *texts):
    """Let a model write given texts: its own tokens are replaced by theirs."""
    generate = generator.model.generate
    tokenizer = generator.processor.tokenizer

    def scripted(**inputs):
        ids = generate(**inputs)
        start = 1 if generator.is_encoder_decoder else inputs["input_ids"].shape[1]
        rows = [[*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for text in texts]
        longest = max(map(len, rows))
        padded = [row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows]
        return torch.cat([ids[:, :start], torch.tensor(padded)], dim=1)

    monkeypatch.setattr(generator.model, "generate", scripted)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_question_gets_an_answer_that_can_be_scored(checkpoints, scenes, name):
    model = load_other_model(str(checkpoints[name]), device="cpu", max_new_tokens=SHORT)
    assert model.family.name == name
    seen = []
    records = model.answer_dataset(scenes, batch_size=2, progress=lambda done, total: seen.append((done, total)))
    questions = QuestionDataset(scenes).questions
    assert [record.question for record in records] == questions
    assert all(1 <= record.num_steps <= SHORT[record.question.task] for record in records)
    assert seen[-1] == (15, 15)
    assert all(before < after for (before, _), (after, _) in pairwise(seen))
    figures = score_answers(records)
    assert set(figures) == {"caption", "ground", "detect", "vqa", "classify"}
    assert model.timing.num_answers == 15
    assert model.timing.forward_passes == sum(record.num_steps for record in records)
    assert model.timing.tokens_per_second > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_answers_do_not_depend_on_the_batch(checkpoints, scenes, name):
    model = load_other_model(str(checkpoints[name]), device="cpu", max_new_tokens=SHORT)
    together = model.answer_dataset(scenes, tasks=["vqa", "caption"], batch_size=3)
    alone = model.answer_dataset(scenes, tasks=["vqa", "caption"], batch_size=1)
    assert together == alone
    assert len({record.text for record in together}) > 1


@pytest.mark.parametrize("name", FAMILIES)
def test_the_text_is_what_the_model_generates_itself(checkpoints, scenes, name):
    """The classes of Transformers, used as its documentation shows it, write the same."""
    generator = load_other_model(str(checkpoints[name]), device="cpu").generator
    (image, *_) = (item["image"] for item in items_of(scenes, "vqa"))
    question = "What is there?"
    if name == "florence2":
        text = question
    else:
        message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}
        text = generator.processor.apply_chat_template([message], add_generation_prompt=True)
    shown = pad_to_square(image, generator.background) if name == "llava" else image
    inputs = generator.processor(images=[shown], text=[text], return_tensors="pt")
    ids = generator.model.generate(**inputs, max_new_tokens=5, do_sample=False, num_beams=1)
    new = ids[0, 1:] if name == "florence2" else ids[0, inputs["input_ids"].shape[1] :]
    expected = generator.processor.tokenizer.decode(new, skip_special_tokens=name != "florence2")
    assert generator.generate([image], [Prompt(question)], 5)[0].text == expected.replace("</s>", "").strip()


# An image of 100 x 50 pixels (width x height); Qwen's processor makes it 112 x 56.
WRITTEN = {
    "qwen2_5_vl": '```json\n[{"bbox_2d": [28, 14, 84, 42], "label": "a ship"}]\n```',
    "internvl": "<ref>ship</ref><box>[[250, 250, 750, 750]]</box>",
    "florence2": "ship<loc_250><loc_250><loc_749><loc_749>",
    "llava": "[0.25, 0.38, 0.75, 0.62]",
}


@pytest.mark.parametrize("task", ["ground", "detect"])
@pytest.mark.parametrize("name", FAMILIES)
def test_boxes_come_back_in_pixels_of_the_original_image(monkeypatch, checkpoints, scenes, name, task):
    model = load_other_model(str(checkpoints[name]), device="cpu")
    write(monkeypatch, model.generator, WRITTEN[name])
    (record,) = model.answer(items_of(scenes, task)[:1])
    assert record.parsed
    assert record.boxes == (pytest.approx((25, 12.5, 75, 37.5), abs=0.6),)
    assert record.labels == ("the red ship" if task == "ground" else "ship",)


def test_boxes_of_several_classes_keep_the_labels_of_the_model(monkeypatch, checkpoints, scenes):
    model = load_other_model(str(checkpoints["qwen2_5_vl"]), device="cpu")
    text = '[{"bbox_2d": [28, 14, 84, 42], "label": "ship"}, {"bbox_2d": [0, 0, 28, 14], "label": "harbor"}]'
    write(monkeypatch, model.generator, text)
    item = dict(items_of(scenes, "detect")[0], question=Question("detect", "ship, harbor"))
    (record,) = model.answer([item])
    assert record.labels == ("ship", "harbor")


def test_tokens_are_counted_up_to_the_end_of_each_answer(monkeypatch, checkpoints, scenes):
    model = load_other_model(str(checkpoints["llava"]), device="cpu")
    write(monkeypatch, model.generator, "no", "maybe", "yes")
    records = model.answer(items_of(scenes, "vqa"))
    assert [record.text for record in records] == ["no", "maybe", "yes"]
    assert [record.num_steps for record in records] == [3, 6, 4]
    assert model.timing.num_tokens == 13
    assert model.timing.passes_per_answer == pytest.approx(13 / 3)


def test_an_answer_without_text_did_not_parse(monkeypatch, checkpoints, scenes):
    model = load_other_model(str(checkpoints["llava"]), device="cpu")
    write(monkeypatch, model.generator, " ")
    (record,) = model.answer(items_of(scenes, "vqa")[:1])
    assert not record.parsed
    assert record.num_steps == 2


def test_the_settings_of_a_checkpoint_do_not_sample(checkpoints):
    generator = load_other_model(str(checkpoints["llava"]), device="cpu").generator
    generator.model.generation_config.update(do_sample=True, temperature=9.0, num_beams=3, repetition_penalty=1.05)
    settings = generator._settings(7)
    assert (settings.do_sample, settings.num_beams, settings.max_new_tokens) == (False, 1, 7)
    assert settings.temperature is None
    assert settings.repetition_penalty == 1.05


def test_an_answer_ends_where_the_tokenizer_says_if_the_settings_do_not():
    model, processor = llava()
    model.generation_config.update(eos_token_id=None, pad_token_id=None)
    settings = TransformersGenerator(get_family("llava"), model, processor)._settings(7)
    assert settings.eos_token_id == [processor.tokenizer.eos_token_id]
    assert settings.pad_token_id == processor.tokenizer.pad_token_id


def test_timing_begins_at_nothing():
    timing = GenerationTiming()
    assert timing.to_dict()["tokens_per_second"] == 0
    assert timing.passes_per_answer == timing.seconds_per_answer == 0


def test_classes_are_told_on_request(checkpoints, scenes):
    model = load_other_model(str(checkpoints["llava"]), device="cpu", classes=["port", "forest"])
    (item, *_) = items_of(scenes, "classify")
    assert "port, forest" in model.family.prompt(item["question"], model.classes).text
    assert json.loads(json.dumps(model.settings()))["classes"] == ["port", "forest"]


def test_a_family_without_a_template_of_its_own_has_one_of_the_project():
    model, processor = llava()
    processor.chat_template = None
    generator = TransformersGenerator(get_family("geochat"), model, processor)
    rendered = generator.render(Prompt("[refer] {prompt} {image}"))
    assert rendered.endswith("USER: <image>\n[refer] {prompt} {image} ASSISTANT:")
    with pytest.raises(ValueError, match="none is known for the family 'generic'"):
        TransformersGenerator(get_family("generic"), model, processor).render(Prompt("hello"))


def test_the_image_stands_where_the_prompt_has_it():
    generator = TransformersGenerator(get_family("earthdial"), *llava())
    assert (
        generator.render(Prompt("\n what {image}", before="[hr] ")) == "[user][hr] <image>\n\n what {image}[assistant]"
    )
    assert generator.render(Prompt("what", "be short")) == "[system]be short[user]<image>\nwhat[assistant]"


def test_a_square_has_the_image_in_its_middle():
    image = Image.new("RGB", (7, 4), (255, 0, 0))
    square = pad_to_square(image, (1, 2, 3))
    assert square.size == (7, 7)
    assert [square.getpixel((0, y))[0] for y in range(7)] == [1, 255, 255, 255, 255, 1, 1]
    assert pad_to_square(square, (0, 0, 0)) is square


def test_a_batch_is_of_one_task(checkpoints, scenes):
    model = load_other_model(str(checkpoints["llava"]), device="cpu")
    assert model.answer([]) == []
    with pytest.raises(ValueError, match="questions of one task, not of caption, vqa"):
        model.answer([*items_of(scenes, "vqa"), *items_of(scenes, "caption")])
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        model.answer_dataset(scenes, batch_size=0)
    with pytest.raises(ValueError, match="no question of vqa"):
        model.answer_dataset(make_dataset([]), tasks=["vqa"])
    with pytest.raises(ValueError, match="unknown tasks"):
        OtherModel("m", model.generator, max_new_tokens={"ocr": 3})
    with pytest.raises(ValueError, match="at least 1"):
        OtherModel("m", model.generator, max_new_tokens={"vqa": 0})


def test_geodit_is_told_from_others(checkpoints):
    assert not is_geodit(str(checkpoints["llava"]))
    with pytest.raises(OSError, match="config"):
        is_geodit(str(checkpoints["llava"].parent))


def test_the_guide_can_be_followed(checkpoints):
    replacements = {
        '"Qwen/Qwen2.5-VL-7B-Instruct"': f'"{checkpoints["qwen2_5_vl"]}", max_new_tokens={SHORT}, device="cpu"',
        "limit=100": "limit=1",
    }
    (code,) = (text for language, text in blocks_of("docs/other-models.md", replacements) if language == "python")
    names = {}
    exec(compile(code, "docs/other-models.md", "exec"), names)
    assert names["model"].timing.num_answers == len(names["answers"]) > 5

# SPDX-License-Identifier: Apache-2.0
"""Questions about images are prepared, answered in slots and read; which batch a question is in changes nothing."""

import pytest
import torch
from PIL import Image

from geodit.configuration.decoding_options import DecodingOptions
from geodit.modeling_geodit.random_geodit import seeded_generator
from geodit.processing.asking import ImageQuestion, ask, ask_of_each
from geodit.tiny.new_model import new_model

RANDOM = DecodingOptions(max_denoising_steps=2, temperature=1.0, seed=3)


@pytest.fixture(scope="module")
def model_and_processor():
    part = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**part, "image_size": 16, "patch_size": 8, "vision_use_head": False}
    torch.manual_seed(0)
    model, processor = new_model(
        {"text_config": part, "vision_config": vision}, ["Detect: ship."], vocab_size=400, location_bins=16
    )
    return model.eval(), processor


def questions(count, first=0):
    for number in range(first, first + count):
        yield ImageQuestion(Image.new("RGB", (20 + number, 30), (40 * number, 90, 10)), "How many?", number)


def texts(model, processor, asked, **arguments):
    return {reply.question.number: reply.answer["text"] for reply in ask(model, processor, "vqa", asked, **arguments)}


def test_every_question_has_its_reply(model_and_processor):
    replies = list(ask(*model_and_processor, "vqa", questions(5), batch_size=2, options=DecodingOptions(2)))
    assert sorted(reply.question.number for reply in replies) == [0, 1, 2, 3, 4]
    for reply in replies:
        assert reply.question.image_size == (30, 20 + reply.question.number)
        assert set(reply.answer) == {"text", "boxes", "labels", "parsed"}
        assert reply.tokens.steps_made == 2


@pytest.mark.parametrize("fixed", [False, True])
def test_random_answers_depend_on_seed_and_number_alone(model_and_processor, fixed):
    options = RANDOM.with_changes(capture_step=fixed)
    together = texts(*model_and_processor, questions(5), options=options, batch_size=3)
    one_by_one = texts(*model_and_processor, questions(5), options=options, batch_size=1)
    assert together == one_by_one
    assert texts(*model_and_processor, questions(2, first=3), options=options).items() <= together.items()
    assert texts(*model_and_processor, questions(5), options=options.with_changes(seed=4)) != together


def test_the_random_numbers_are_those_of_evaluations(model_and_processor):
    model, processor = model_and_processor
    inputs = processor(images=[next(questions(1)).image], text=["How many?"], task="vqa", return_tensors="pt")
    output = model.generate(
        **inputs,
        max_new_tokens=processor.canvas_length("vqa"),
        generator=seeded_generator(3, 0, bits=32),
        **RANDOM.generate_arguments(),
    )
    expected = processor.decode_canvas(output[0, inputs["input_ids"].shape[1] :])
    assert texts(model, processor, questions(1), options=RANDOM) == {0: expected.strip()}


def test_what_is_left_open_is_as_the_model_has_it_or_at_its_default(model_and_processor):
    model, processor = model_and_processor

    def steps(**arguments):
        (reply,) = ask(model, processor, "vqa", questions(1), options=DecodingOptions().with_defaults(), **arguments)
        return reply.tokens.steps_made

    kept = model.generation_config.confidence_threshold
    try:
        model.generation_config.update(confidence_threshold=0.0)
        assert (steps(by_model=True), steps(by_model=False)) == (1, 8)
    finally:
        model.generation_config.confidence_threshold = kept


def test_a_task_that_there_is_not_is_refused(model_and_processor):
    with pytest.raises(ValueError, match="segment"):
        list(ask(*model_and_processor, "segment", questions(1)))


class TestOfEach:
    QUERIES = ("How many?", "Is there water?", "Are there any ships near the coast?")

    @pytest.mark.parametrize("options", [DecodingOptions(2), RANDOM, RANDOM.with_changes(capture_step=True)])
    def test_the_answers_are_those_of_one_question_at_a_time(self, model_and_processor, options):
        asked = {"options": options, "batch_size": 2}
        replies = ask_of_each(*model_and_processor, "vqa", questions(5), self.QUERIES, **asked)
        together = {(reply.question.query, reply.question.number): reply.answer["text"] for reply in replies}
        assert len(together) == 15
        for query in self.QUERIES:
            alone = [ImageQuestion(one.image, query, one.number) for one in questions(5)]
            for number, text in texts(*model_and_processor, alone, **asked).items():
                assert together[query, number] == text

    def test_an_image_is_encoded_once(self, model_and_processor, monkeypatch):
        model, processor = model_and_processor
        encoded = []
        encode = model.encode_image

        def count(pixels, *rest, **named):
            encoded.append(len(pixels))
            return encode(pixels, *rest, **named)

        monkeypatch.setattr(model, "encode_image", count)
        asked = {"batch_size": 2, "options": DecodingOptions(2)}
        list(ask_of_each(model, processor, "vqa", questions(5), self.QUERIES, **asked))
        assert encoded == [2, 2, 1]


def test_prompts_without_their_images_are_those_with_them(model_and_processor):
    _, processor = model_and_processor
    images = [one.image for one in questions(3)]
    queries = ["How many?", "Is there any water here?", "Why?"]
    expected = processor(images=images, text=queries, task="vqa", return_tensors="pt")
    found = processor.prompt_inputs("vqa", queries, [(image.height, image.width) for image in images])
    for name in ("input_ids", "attention_mask"):
        assert torch.equal(found[name], expected[name])
    assert "pixel_values" not in found
    with pytest.raises(ValueError, match=r"1 image.* for 2 text"):
        processor.prompt_inputs("vqa", queries[:2], [(8, 8)])

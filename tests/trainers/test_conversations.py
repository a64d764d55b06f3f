# SPDX-License-Identifier: Apache-2.0
"""Rows of messages and images, as the trainers of trl take them: prompt, canvas, and what is refused by name."""

import datasets
import pytest
import torch
from PIL import Image

from geodit.data.schema import Question
from geodit.trainers.conversations import read_conversation
from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.trainer import GeoDiTTrainer
from geodit.trainers.training_arguments import GeoDiTTrainingArguments

RED, BLUE = Image.new("RGB", (96, 96), "red"), Image.new("RGB", (60, 96), "blue")
IMAGE, ASK = {"type": "image"}, {"type": "text", "text": "How many ships are there?"}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def assistant(text):
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def row(*turns, **others):
    return {"messages": list(turns), **others}


@pytest.fixture
def processor(model_and_processor):
    return model_and_processor[1]


@pytest.fixture
def collate(processor):
    return GeoDiTDataCollator(processor, max_new_tokens=12)


def parts_of(batch, place, processor):
    """Token ids of prompt and canvas of a row."""
    ids, labels = batch["input_ids"][place], batch["labels"][place]
    real = batch["attention_mask"][place].bool()
    canvas = labels != -100
    assert torch.equal(ids[canvas], labels[canvas])
    assert not (canvas & ~real).any()
    return ids[real & ~canvas].tolist(), ids[canvas].tolist()


def asked(processor, turns, images):
    """The prompt that these turns are asked by."""
    text = processor.apply_chat_template(turns, add_generation_prompt=True)
    return processor(images=[images] if images else None, text=[text])["input_ids"][0]


FIRST, SECOND = user(IMAGE, ASK), user({"type": "text", "text": "none?"})
ROWS = {
    "blocks": (row(FIRST, assistant("2"), images=[RED]), [FIRST], [RED]),
    "text": (
        row({"role": "user", "content": ASK["text"]}, {"role": "assistant", "content": "2"}, images=[RED]),
        [FIRST],
        [RED],
    ),
    "one image": (row(FIRST, assistant("2"), image=RED), [FIRST], [RED]),
    "image in the block": (row(user({"type": "image", "image": RED}, ASK), assistant("2")), [FIRST], [RED]),
    "several turns": (
        row(FIRST, assistant("none"), SECOND, assistant("2"), images=[RED]),
        [FIRST, assistant("none"), SECOND],
        [RED],
    ),
    "several images": (row(user(IMAGE, IMAGE, ASK), assistant("2"), images=[RED, BLUE]), None, [RED, BLUE]),
    "no image": (row(user(ASK), assistant("2"), images=[]), [user(ASK)], []),
    "prompt and completion": ({"prompt": [FIRST], "completion": [assistant("2")], "images": [RED]}, [FIRST], [RED]),
}


@pytest.mark.parametrize("name", ROWS)
def test_the_prompt_is_what_the_model_is_asked_by_and_the_answer_is_on_the_canvas(collate, processor, name):
    item, turns, images = ROWS[name]
    batch = collate([item])
    prompt, canvas = parts_of(batch, 0, processor)
    assert prompt == asked(processor, item["messages"][:-1] if turns is None else turns, images)
    assert len(canvas) == 12
    assert processor.decode_canvas(canvas) == "2"
    assert ("pixel_values" in batch) == bool(images)
    if images:
        assert torch.equal(batch["pixel_values"], processor(images=images, return_tensors="pt")["pixel_values"])


def test_two_texts_are_taken_as_they_stand(collate, processor):
    batch = collate([{"prompt": "Detect: ship.", "completion": " none", "images": [RED]}])
    prompt, canvas = parts_of(batch, 0, processor)
    assert prompt == processor(images=[RED], text=["Detect: ship."])["input_ids"][0]
    assert processor.decode_canvas(canvas) == "none"


def test_rows_of_a_batch_are_as_alone(collate, processor):
    items = [item for item, _, _ in ROWS.values()]
    batch = collate(items)
    for place, item in enumerate(items):
        assert parts_of(batch, place, processor) == parts_of(collate([item]), 0, processor)
    alone = [collate([item])["pixel_values"] for item, _, images in ROWS.values() if images]
    assert torch.equal(batch["pixel_values"], torch.cat(alone))


def test_a_row_is_read_as_the_question_of_a_task_is(collate, processor):
    question = Question("vqa", query=ASK["text"], answer="2")
    ours = GeoDiTDataCollator(processor)([{"image": RED, "question": question}])
    theirs = GeoDiTDataCollator(processor, max_new_tokens=8)([ROWS["blocks"][0]])
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_location_tokens_are_text(collate, processor):
    _, canvas = parts_of(collate([row(FIRST, assistant("<loc_1><loc_2><loc_3><loc_4>"), image=RED)]), 0, processor)
    assert processor.decode_canvas(canvas) == "<loc_1><loc_2><loc_3><loc_4>"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (row(FIRST, assistant("2")), "has 0 images for 1 image blocks"),
        (row(FIRST, assistant("2"), images=[RED, BLUE]), "has 2 images for 1 image blocks"),
        (row(FIRST, assistant("2"), image=RED, images=[BLUE]), "either image or images"),
        (row(FIRST, image=RED), "the last turn must be the assistant's, .* got that of user"),
        (row(assistant("2")), "there is no turn before the assistant's answer"),
        (row(FIRST, assistant(" "), image=RED), "the answer is empty"),
        (row(user(ASK), {"role": "assistant", "content": [IMAGE]}, image=RED), "must be text, but it holds an image"),
        (row(user(ASK), {"role": "tool", "content": "x"}, assistant("2")), "system, user, assistant, got 'tool'"),
        (row(user({"type": "video"}), assistant("2")), "must be an image or a text, got {'type': 'video'}"),
        (row(user(ASK), {"role": "assistant", "content": None}), "must be text or a list of blocks, got None"),
        (row({"role": "user", "content": "<image> x"}, assistant("2")), "special token '<image>'"),
        (row(user(ASK), assistant("2"), images=RED), "images must be a list, got Image"),
        (row(image=RED), r"messages must be a list of messages with role and content, got \[\]"),
        ({"prompt": [FIRST], "image": RED}, "completion must be a list of messages .* got None"),
        ({"prompt": [FIRST], "completion": [FIRST, assistant("2")]}, "completion must be one turn of the assistant"),
        (row(FIRST, assistant("2"), prompt="x"), "either messages, or prompt and completion"),
        (row(FIRST, assistant("a harbor " * 9), image=RED), r"has \d+ tokens, more than .* max_new_tokens=12"),
    ],
)
def test_what_cannot_be_trained_on_is_named(collate, item, message):
    with pytest.raises(ValueError, match=message) as caught:
        collate([ROWS["blocks"][0], {**item, "id": "row 7"}])
    assert str(caught.value).startswith("item row 7 cannot be trained on: ")
    with pytest.raises(ValueError, match="item 1 of the batch"):
        collate([ROWS["blocks"][0], item])


@pytest.mark.parametrize("token", ["eos_token", "mask"])
def test_no_text_may_hold_a_special_token(processor, token):
    text = processor.tokenizer.eos_token if token == "eos_token" else processor.tokenizer.mask_token
    with pytest.raises(ValueError, match="special token"):
        read_conversation(row(user(ASK), assistant(f"2{text}")), processor)


class TestOtherItems:
    @pytest.mark.parametrize(
        ("item", "message"),
        [
            ({"question": Question("vqa", query="x", answer="2")}, "item 0 of the batch has question"),
            ({"image": RED, "text": "x"}, "needs `image` .* or `messages`, .* has image, text"),
            ({"image": RED, "question": "How many?", "answer": "2"}, "no `Question`: wrap .* in QuestionDataset"),
            ({"image": RED, "image_id": "a", "questions": [{"task": "vqa"}]}, "of item a are no `Question`"),
            ({}, "has nothing, as with remove_unused_columns=True"),
            ("text", "has str"),
        ],
    )
    def test_they_are_refused_in_one_sentence(self, collate, item, message):
        with pytest.raises(ValueError, match=message):
            collate([item])

    def test_a_batch_is_of_one_kind(self, collate, items):
        with pytest.raises(ValueError, match="either questions or conversations"):
            collate([items[0], ROWS["blocks"][0]])

    def test_a_canvas_has_tokens(self, processor):
        with pytest.raises(ValueError, match="max_new_tokens must be at least 1, got 0"):
            GeoDiTDataCollator(processor, max_new_tokens=0)


def trl_dataset(number=4):
    """As trl's own examples of vision-language data, with the columns that Arrow makes of them."""
    turns = [user(IMAGE, ASK), assistant("2")]
    dataset = datasets.Dataset.from_dict({"messages": [turns] * number, "images": [[RED]] * number})
    assert dataset[0]["messages"][0]["content"][0] == {"type": "image", "text": None}
    return dataset


def test_a_data_set_of_conversations_is_learnt(model_and_processor, tmp_path):
    model, processor = model_and_processor
    model.generation_config.max_new_tokens = 3
    args = GeoDiTTrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        max_steps=60,
        learning_rate=1e-2,
        save_strategy="no",
    )
    trainer = GeoDiTTrainer(
        model, args, processing_class=processor, train_dataset=trl_dataset(), eval_dataset=trl_dataset(2)
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.5 * before
    text = processor.apply_chat_template([user(IMAGE, ASK)], add_generation_prompt=True)
    inputs = processor(images=[RED], text=text, return_tensors="pt")
    output = model.eval().generate(**inputs)
    assert output.shape[1] == inputs["input_ids"].shape[1] + 3, "the canvas is that of training"
    assert processor.decode_canvas(output[0, inputs["input_ids"].shape[1] :]) == "2"

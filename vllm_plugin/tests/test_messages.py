# SPDX-License-Identifier: Apache-2.0
"""Prompts: the query is cut out of a rendered chat, and a task's prompt is what the processor makes of it."""

from __future__ import annotations

import pytest
from PIL import Image

from geodit import bundled_checkpoint
from geodit.processing.processing_geodit import CHAT_TEMPLATE, GeoDiTProcessor
from geodit_vllm.messages import TaskPrompts, check_prompt, image_length

IMAGE, MASK = 3, 2


@pytest.fixture(scope="module", params=["compact", "llada"])
def processor(request):
    processor = GeoDiTProcessor.from_pretrained(str(bundled_checkpoint()))
    if request.param == "llada":
        processor.chat_template = CHAT_TEMPLATE
    return processor


@pytest.fixture(scope="module")
def prompts(processor):
    return TaskPrompts(processor)


def rendered(processor, *texts, image=True):
    chat = [
        {"role": "assistant" if number % 2 else "user", "content": [{"type": "text", "text": text}]}
        for number, text in enumerate(texts)
    ]
    if image:
        chat[0]["content"].insert(0, {"type": "image"})
    return processor.apply_chat_template(chat, add_generation_prompt=True)


class TestQuery:
    @pytest.mark.parametrize("image", [True, False])
    @pytest.mark.parametrize("text", ["ship", "  a ship\n near {the} pier? ", "<loc_3><loc_9>", "user", "é ⁣ 海"])
    def test_it_is_the_text_of_the_message(self, processor, prompts, text, image):
        prompt = rendered(processor, text, image=image)
        assert prompts.query("vqa", None, prompt, int(image)) == text.strip()

    def test_it_may_be_given_beside_an_empty_message(self, processor, prompts):
        assert prompts.query("detect", "ship", rendered(processor, ""), 1) == "ship"
        assert prompts.query("detect", "ship", rendered(processor, " ship"), 1) == "ship"
        assert prompts.query("detect", "ship", "<image>", 1) == "ship"
        assert prompts.query("detect", "ship", None, 1) == "ship"

    def test_a_task_without_a_query_may_be_said(self, processor, prompts):
        assert prompts.query("caption", None, rendered(processor, "Describe the image."), 1) == ""
        assert prompts.query("caption", None, rendered(processor, ""), 1) == ""
        assert prompts.query("caption", None, None, 1) == ""

    def test_two_queries(self, processor, prompts):
        with pytest.raises(ValueError, match="both say what to ask"):
            prompts.query("detect", "ship", rendered(processor, "harbor"), 1)

    def test_token_ids_need_one(self, prompts):
        with pytest.raises(ValueError, match="needs a query"):
            prompts.query("detect", None, None, 1)

    def test_unknown_task(self, prompts):
        with pytest.raises(ValueError, match="Unknown task"):
            prompts.query("segment", None, None, 1)

    @pytest.mark.parametrize("prompt", ["Detect: ship.", "<image>Detect: ship.", "x" * 3])
    def test_other_prompts_are_no_chat(self, prompts, prompt):
        with pytest.raises(ValueError, match="takes a chat of one user message"):
            prompts.query("detect", None, prompt, 1)

    def test_several_messages_leave_special_tokens_in_the_query_which_no_query_may_hold(self, processor, prompts):
        found = prompts.query("detect", None, rendered(processor, "ship", "none", "harbor"), 1)
        with pytest.raises(ValueError, match="special token"):
            processor.format_prompt("detect", found)

    def test_a_chat_with_a_system_message_is_refused(self, processor, prompts):
        chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "ship"}]
        prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
        with pytest.raises(ValueError, match="one user message"):
            prompts.query("detect", None, prompt, 0)


class TestTokens:
    @pytest.mark.parametrize(
        ("task", "query"),
        [("detect", "ship"), ("caption", ""), ("vqa", " How many ships?"), ("ground", "the <loc_4> one")],
    )
    def test_with_the_image_they_are_what_the_processor_makes(self, processor, prompts, task, query):
        image = Image.new("RGB", (40, 30))
        expected = list(processor(images=image, text=query, task=task)["input_ids"][0])
        assert [IMAGE] * processor.num_image_tokens + prompts.tokens(task, query) == expected

    def test_and_without_one(self, processor, prompts):
        assert prompts.tokens("vqa", "Why?") == list(processor(text="Why?", task="vqa")["input_ids"][0])


class TestCheck:
    def test_the_image_stands_in_front(self):
        assert image_length([IMAGE, IMAGE, 9, IMAGE], IMAGE) == 2
        check_prompt([IMAGE, IMAGE, 9], 2, IMAGE, MASK)
        check_prompt([9, 10], 0, IMAGE, MASK)

    @pytest.mark.parametrize(
        ("ids", "count", "message"),
        [
            ([IMAGE, IMAGE, 9, IMAGE], 2, "nowhere else"),
            ([IMAGE, IMAGE, IMAGE, 9], 2, "nowhere else"),
            ([9, IMAGE, IMAGE], 2, "in front of its text"),
            ([IMAGE, 9], 0, "leave it out"),
            ([9, MASK], 0, "mask token"),
            ([IMAGE, 9, MASK], 1, "mask token"),
        ],
    )
    def test_prompts_that_the_model_cannot_be_given(self, ids, count, message):
        with pytest.raises(ValueError, match=message):
            check_prompt(ids, count, IMAGE, MASK)

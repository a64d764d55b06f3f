# SPDX-License-Identifier: Apache-2.0
"""The chat templates: what they write, and that a conversation gives the inputs that a task gives."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import ProcessorMixin

from geodit.configuration.older_transformers_geodit import BaseProcessor
from geodit.processing.processing_geodit import CHAT_TEMPLATE, COMPACT_CHAT_TEMPLATE, GeoDiTProcessor
from geodit.processing.tasks_geodit import DEFAULT_TASKS
from geodit.weights.bundled import bundled_checkpoint

QUERIES = {"caption": "", "ground": "white ship", "detect": "ship", "vqa": "How many ships?", "classify": ""}
LLADA = (
    "<|startoftext|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)

# What conversations were before the templates said what the assistant wrote.
UNMARKED = {
    CHAT_TEMPLATE: (
        "{%- macro text_of(message) -%}"
        "{%- if message['content'] is string -%}{{- message['content'] | trim -}}"
        "{%- else -%}{%- for block in message['content'] -%}{%- if block['type'] == 'text' -%}"
        "{{- block['text'] | trim -}}{%- endif -%}{%- endfor -%}{%- endif -%}{%- endmacro -%}"
        "{%- for message in messages -%}{%- if message['content'] is not string -%}"
        "{%- for block in message['content'] -%}{%- if block['type'] == 'image' -%}{{- '<image>' -}}{%- endif -%}"
        "{%- endfor -%}{%- endif -%}{%- endfor -%}"
        "{{- bos_token -}}{%- for message in messages -%}"
        "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' -}}"
        "{{- text_of(message) + '<|eot_id|>' -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}{%- endif -%}"
    ),
    COMPACT_CHAT_TEMPLATE: (
        "{%- macro text_of(message) -%}"
        "{%- if message['content'] is string -%}{{- message['content'] | trim -}}"
        "{%- else -%}{%- for block in message['content'] -%}{%- if block['type'] == 'text' -%}"
        "{{- block['text'] | trim -}}{%- endif -%}{%- endfor -%}{%- endif -%}{%- endmacro -%}"
        "{%- for message in messages -%}{%- if message['content'] is not string -%}"
        "{%- for block in message['content'] -%}{%- if block['type'] == 'image' -%}{{- '<image>' -}}{%- endif -%}"
        "{%- endfor -%}{%- endif -%}{%- endfor -%}"
        "{%- for message in messages -%}{{- '<|' + message['role'] + '|>' + text_of(message) -}}{%- endfor -%}"
        "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
    ),
}

blocks = st.one_of(
    st.just({"type": "image"}), st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=12))
)
messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant"]),
        "content": st.one_of(st.text(max_size=12), st.lists(blocks, max_size=3)),
    }
)


@pytest.fixture(params=["processor", "compact_processor"])
def any_processor(request: pytest.FixtureRequest) -> GeoDiTProcessor:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


class TestInputs:
    @pytest.mark.parametrize("task", list(DEFAULT_TASKS))
    @pytest.mark.parametrize("image_first", [True, False])
    def test_a_conversation_gives_the_same_inputs_as_the_task(
        self, any_processor: GeoDiTProcessor, image: Image.Image, task: str, image_first: bool
    ) -> None:
        query = QUERIES[task]
        content = [
            {"type": "image", "image": image},
            {"type": "text", "text": any_processor.format_prompt(task, query)},
        ]
        conversation: Any = [{"role": "user", "content": content if image_first else content[::-1]}]

        from_task = any_processor(images=image, text=query, task=task, return_tensors="pt")
        from_conversation = any_processor.apply_chat_template(
            conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        rendered = any_processor.apply_chat_template(conversation, add_generation_prompt=True)
        from_text = any_processor(images=image, text=rendered, return_tensors="pt")

        for inputs in (from_conversation, from_text):
            assert set(inputs) == set(from_task)
            for name, value in from_task.items():
                assert torch.equal(inputs[name], value), name

    def test_a_batch_of_conversations(
        self, any_processor: GeoDiTProcessor, image: Image.Image, other_image: Image.Image
    ) -> None:
        conversations: Any = [
            [
                {
                    "role": "user",
                    "content": [{"type": "image", "image": picture}, {"type": "text", "text": text}],
                }
            ]
            for picture, text in ((image, "How many ships?"), (other_image, "Where?"))
        ]
        from_conversations = any_processor.apply_chat_template(
            conversations, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        from_task = any_processor(
            images=[image, other_image], text=["How many ships?", "Where?"], task="vqa", return_tensors="pt"
        )
        for name, value in from_task.items():
            assert torch.equal(from_conversations[name], value), name

    def test_several_turns(self, processor: GeoDiTProcessor) -> None:
        """The format of LLaDA-8B-Instruct: every message ends with <|eot_id|>."""
        conversation: Any = [
            {"role": "user", "content": [{"type": "text", "text": "Hi "}]},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": [{"type": "text", "text": "What is this?"}, {"type": "image"}]},
        ]
        assert processor.apply_chat_template(conversation) == (
            "<image><|startoftext|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nWhat is this?<|eot_id|>"
        )

    @pytest.mark.skipif(BaseProcessor is not ProcessorMixin, reason="processors of Transformers do so from 5.23 on")
    def test_control_tokens_in_a_conversation_can_be_made_harmless(
        self, processor: GeoDiTProcessor, image: Image.Image
    ) -> None:
        text = "Read <image> and <|eot_id|>"
        conversation: Any = [
            {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": text}]}
        ]
        inputs = processor.apply_chat_template(
            conversation,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            sanitize_control_tokens=True,
        )
        assert (inputs["input_ids"] == processor.image_token_id).sum() == 4
        assert processor.tokenizer.decode(inputs["input_ids"][0]) == "<image>" * 4 + LLADA.format(text)

    @pytest.mark.parametrize("key", ["image", "url", "path", "base64"])
    def test_an_image_may_be_named_in_each_way_of_transformers(
        self, any_processor: GeoDiTProcessor, image: Image.Image, tmp_path: Path, key: str
    ) -> None:
        path = tmp_path / "image.png"
        image.save(path)
        source = {
            "image": image,
            "url": str(path),
            "path": str(path),
            "base64": base64.b64encode(path.read_bytes()).decode(),
        }[key]
        content = [{"type": "image", key: source}, {"type": "text", "text": "Detect: ship."}]
        conversation: Any = [{"role": "user", "content": content}]
        expected = any_processor(images=image, text="ship", task="detect", return_tensors="pt")
        for asked, rows in (([conversation], 1), (conversation, 1), ([conversation, conversation], 2)):
            inputs = any_processor.apply_chat_template(
                asked, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
            assert set(inputs) == set(expected)
            for name, value in expected.items():
                assert torch.equal(inputs[name], torch.cat([value] * rows)), name


class TestGeneratedTokens:
    def ids_of_the_assistant(self, processor: GeoDiTProcessor, conversations: Any, **arguments: Any) -> list[str]:
        inputs = processor.apply_chat_template(
            conversations,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            return_assistant_tokens_mask=True,
            processor_kwargs=arguments,
        )
        assert inputs["assistant_masks"].shape == inputs["input_ids"].shape
        rows = zip(inputs["input_ids"], inputs["assistant_masks"].bool(), strict=True)
        return [processor.tokenizer.decode(ids[mask]) for ids, mask in rows]

    @pytest.mark.parametrize("padding_side", ["left", "right"])
    def test_are_what_the_assistant_wrote(
        self, any_processor: GeoDiTProcessor, image: Image.Image, padding_side: str
    ) -> None:
        picture = {"type": "image", "image": image}
        one: Any = [
            {"role": "user", "content": [picture, {"type": "text", "text": "How many ships are there?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "two ships"}]},
            {"role": "user", "content": [{"type": "text", "text": "Classify the scene."}]},
            {"role": "assistant", "content": " harbor\n"},
        ]
        other: Any = [{"role": "user", "content": "yes"}, {"role": "assistant", "content": "none"}]
        end = "<|eot_id|>" if any_processor.chat_template == CHAT_TEMPLATE else ""
        found = self.ids_of_the_assistant(any_processor, [one, other, other[:1]], padding_side=padding_side)
        assert found == [f"two ships{end}harbor{end}", f"none{end}", ""]

    @given(st.lists(messages, min_size=1, max_size=4), st.booleans(), st.sampled_from([*UNMARKED]))
    def test_are_marked_without_a_change_to_any_conversation(
        self, processor: GeoDiTProcessor, conversation: Any, prompt: bool, template: str
    ) -> None:
        now, before = (
            processor.apply_chat_template(conversation, chat_template=one, add_generation_prompt=prompt)
            for one in (template, UNMARKED[template])
        )
        assert now == before

    def test_can_be_told_with_the_bundled_checkpoint(self, image: Image.Image) -> None:
        processor = GeoDiTProcessor.from_pretrained(bundled_checkpoint())
        assert processor.chat_template == COMPACT_CHAT_TEMPLATE
        conversation: Any = [
            {
                "role": "user",
                "content": [{"type": "image", "image": image}, {"type": "text", "text": "Detect: ship."}],
            },
            {"role": "assistant", "content": "none"},
        ]
        assert self.ids_of_the_assistant(processor, conversation) == ["none"]

# SPDX-License-Identifier: Apache-2.0
"""Rows of conversations, as the trainers of trl take them, read into images, prompt and answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from geodit.configuration.types_geodit import Item, JsonObject
from geodit.processing.processing_geodit import GeoDiTProcessor, location_token

_COLUMNS = ("messages", "prompt", "completion")
_ROLES = ("system", "user", "assistant")
# Where a block of content may have its image itself, as chat templates take it.
_IMAGE_KEYS = ("image", "path", "url", "base64")


@dataclass(frozen=True)
class Conversation:
    """What the model sees of a conversation, and what it is to answer.

    Args:
        images: PIL images, or what else the processor reads, in the order of their placeholders.
        prompt: All turns but the last in the chat template, with a placeholder for each image.
        answer: The text of the last turn.
    """

    images: tuple[object, ...]
    prompt: str
    answer: str


def is_conversation(item: Item) -> bool:
    """Return whether a row is a conversation: it has `messages`, or `prompt` and `completion`."""
    return any(name in item for name in _COLUMNS)


def read_conversation(item: Item, processor: GeoDiTProcessor) -> Conversation:
    """Read a row with `messages`, or with `prompt` and `completion`, and `images` (a list) or `image`, if any.

    The last turn of the assistant is the answer, and all turns before it are the prompt. A turn's content is a text
    or a list of blocks, `{"type": "image"}` and `{"type": "text", "text": ...}`. Blocks without an image of their own
    take those of the row in order; where there are no blocks, the images belong to the first turn of the user.

    `prompt` and `completion` may also be two texts. They are then taken as they stand, without the chat template.

    Args:
        item: The row.
        processor: Has the chat template and the tokens that no text may hold.

    Raises:
        ValueError: If the row has another form, ends with another turn than the assistant's, or holds images that no
            block asks for, a block without an image, a special token of the tokenizer or anything but image and text.
    """
    if "messages" in item and ("prompt" in item or "completion" in item):
        raise ValueError("a row has either messages, or prompt and completion, not both")
    images = _row_images(item)
    if "messages" in item:
        turns = _turns(item["messages"], "messages")
    else:
        prompt, completion = item.get("prompt"), item.get("completion")
        if isinstance(prompt, str) and isinstance(completion, str):
            return Conversation(images, prompt, _checked_answer(completion, processor))
        turns = _turns(prompt, "prompt")
        answers = _turns(completion, "completion")
        if len(answers) != 1:
            raise ValueError(f"completion must be one turn of the assistant, got {len(answers)} turns")
        turns += answers
    if turns[-1].role != "assistant":
        raise ValueError(f"the last turn must be the assistant's, which is the answer, got that of {turns[-1].role}")
    *asked, answer = turns
    if not asked:
        raise ValueError("there is no turn before the assistant's answer")
    if answer.images:
        raise ValueError("the assistant's answer must be text, but it holds an image")
    images = _place_images(asked, images)
    for turn in asked:
        _check_text(turn.text, processor)
    messages = [turn.to_message() for turn in asked]
    rendered = processor.apply_chat_template(messages, add_generation_prompt=True)
    return Conversation(images, str(rendered), _checked_answer(answer.text, processor))


@dataclass
class _Turn:
    """A message: its text, and its images, `None` for those that are taken from the row."""

    role: str
    text: str
    images: list[object]

    def to_message(self) -> JsonObject:
        blocks: list[dict[str, str]] = [{"type": "image"}] * len(self.images)
        return {"role": self.role, "content": [*blocks, {"type": "text", "text": self.text}]}


def _row_images(item: Item) -> tuple[object, ...]:
    image, images = item.get("image"), item.get("images")
    if image is not None and images:
        raise ValueError("a row has either image or images, not both")
    if images is None:
        return () if image is None else (image,)
    if not isinstance(images, Sequence) or isinstance(images, str):
        raise ValueError(f"images must be a list, got {type(images).__name__}; one alone goes by the name of image")
    return tuple(images)


def _turns(messages: object, name: str) -> list[_Turn]:
    listed = messages if isinstance(messages, Sequence) and not isinstance(messages, str) else ()
    if not listed or not all(isinstance(message, Mapping) for message in listed):
        raise ValueError(f"{name} must be a list of messages with role and content, got {_excerpt(repr(messages))}")
    return [_turn(message) for message in listed]


def _turn(message: Mapping[str, object]) -> _Turn:
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES:
        raise ValueError(f"the role of a message must be one of {', '.join(_ROLES)}, got {role!r}")
    if isinstance(content, str):
        return _Turn(role, content, [])
    if not isinstance(content, Sequence) or not all(isinstance(block, Mapping) for block in content):
        raise ValueError(f"the content of a message must be text or a list of blocks, got {content!r}")
    texts: list[str] = []
    images: list[object] = []
    for block in content:
        kind, text = block.get("type"), block.get("text")
        if kind == "text" and isinstance(text, str):
            texts.append(text)
        elif kind == "image":
            images.append(next((block[key] for key in _IMAGE_KEYS if block.get(key) is not None), None))
        else:
            raise ValueError(f"a block of content must be an image or a text, got {_excerpt(repr(dict(block)))}")
    return _Turn(role, "".join(text.strip() for text in texts), images)


def _place_images(turns: Sequence[_Turn], images: tuple[object, ...]) -> tuple[object, ...]:
    """Give the images of a row to the blocks that have none, and return all images in order."""
    if images and not any(turn.images for turn in turns):
        first = next((turn for turn in turns if turn.role == "user"), None)
        if first is None:
            raise ValueError("the row has images, but no turn of the user that they could belong to")
        first.images = [None] * len(images)
    placed = [image for turn in turns for image in turn.images]
    wanted = sum(image is None for image in placed)
    if wanted != len(images):
        raise ValueError(f"the row has {len(images)} images for {wanted} image blocks without one")
    given = iter(images)
    return tuple(next(given) if image is None else image for image in placed)


def _checked_answer(text: str, processor: GeoDiTProcessor) -> str:
    if not text.strip():
        raise ValueError("the answer is empty")
    _check_text(text, processor)
    return text.strip()


def _check_text(text: str, processor: GeoDiTProcessor) -> None:
    """Refuse a text that the tokenizer would read special tokens from; location tokens are text."""
    tokenizer = processor.tokenizer
    special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= {processor.image_token, *tokenizer.all_special_tokens}
    special -= {location_token(index) for index in range(processor.location_bins)}
    if found := sorted(token for token in special if token in text):
        raise ValueError(f"the text {_excerpt(text)!r} holds the special token {found[0]!r}, read as such")


def _excerpt(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."

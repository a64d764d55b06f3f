# SPDX-License-Identifier: Apache-2.0
"""Prompts: from a chat message and a task to the tokens that the processor makes of them, and what a prompt may hold.

vLLM has rendered the chat and made tokens of it before a request can be looked at. So with a task the query is cut out
of the rendered text, and the tokens after the image are made anew; a prompt without a task stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from geodit.processing.tasks_geodit import resolve_task

if TYPE_CHECKING:
    from geodit.processing.processing_geodit import GeoDiTProcessor

__all__ = ["TaskPrompts", "check_prompt", "image_length"]

# A text that no user writes, in whose place the query stands.
_SENTINEL = "\u2063geodit query\u2063"


class TaskPrompts:
    """Finds the query in a rendered chat, and makes the prompt of a task.

    Args:
        processor: The processor of the model.
    """

    def __init__(self, processor: GeoDiTProcessor) -> None:
        self._processor = processor
        self._frames = [self._frame(num_images) for num_images in (0, 1)]

    def _frame(self, num_images: int) -> tuple[str, str]:
        """Return what stands before and after the text of a chat of one user message."""
        content = [{"type": "image"}] * num_images + [{"type": "text", "text": _SENTINEL}]
        chat: Any = [{"role": "user", "content": content}]
        head, _, tail = str(self._processor.apply_chat_template(chat, add_generation_prompt=True)).partition(_SENTINEL)
        return head, tail

    def query(self, task: str, given: str | None, prompt: str | None, num_images: int) -> str:
        """Return what a task is asked of.

        Args:
            task: A task of the processor.
            given: The query, if the request names it.
            prompt: The text of the prompt: a rendered chat, or nothing but the placeholder of the image. `None` for
                one of token ids, of which `given` takes the place.
            num_images: Images of the prompt, 0 or 1.

        Raises:
            ValueError: If the task is unknown, the prompt is no chat of one user message, there is no query, or there
                are two.
        """
        own = resolve_task(self._processor.tasks, task)
        if prompt is None:
            if given is None and own.takes_query:
                raise ValueError(f"task={task!r} with a prompt of token ids needs a query: give query")
            return given or ""
        said = self._said(task, prompt, num_images)
        if not own.takes_query and said == own.prompt:  # who asks for a caption may say so as well
            said = ""
        if given is not None and said and said != given.strip():
            raise ValueError("the message and query both say what to ask: leave the message empty, or leave query out")
        return said if given is None else given

    def _said(self, task: str, prompt: str, num_images: int) -> str:
        """Return the text of the one user message."""
        bare = prompt.strip()
        if bare in ("", self._processor.image_token):
            return ""
        head, tail = self._frames[num_images]
        if len(prompt) < len(head) + len(tail) or not (prompt.startswith(head) and prompt.endswith(tail)):
            raise ValueError(
                f"task={task!r} takes a chat of one user message, with the image before its text, in the chat "
                "template of the model; for any other prompt give query, and nothing but the image"
            )
        # Of several messages there are special tokens between them, which the processor refuses in a query.
        return prompt[len(head) : len(prompt) - len(tail)].strip()

    def tokens(self, task: str, query: str) -> list[int]:
        """Return the tokens of a task's prompt after the image.

        Raises:
            ValueError: If the task is unknown, or the query does not fit it.
        """
        rows: list[list[int]] = self._processor(text=query, task=task)["input_ids"]
        return list(rows[0])


def image_length(token_ids: Sequence[int], image_token_id: int) -> int:
    """Return how many placeholders of an image a prompt begins with."""
    return next((place for place, token in enumerate(token_ids) if token != image_token_id), len(token_ids))


def check_prompt(token_ids: Sequence[int], num_image_tokens: int, image_token_id: int, mask_token_id: int) -> None:
    """Refuse prompts that the model cannot be given.

    Args:
        token_ids: The prompt.
        num_image_tokens: n, how many features its image has; 0 without one.
        image_token_id: The placeholder of a feature.
        mask_token_id: Id of `[M]`.

    Raises:
        ValueError: If `[M]` stands in it, or the placeholders are not those of the image, in front of the text.
    """
    if image_length(token_ids, image_token_id) != num_image_tokens or image_token_id in token_ids[num_image_tokens:]:
        raise ValueError(
            "a prompt takes one image at most, in front of its text, and holds the placeholder of an image nowhere "
            "else: leave it out of the text"
        )
    if mask_token_id in token_ids:
        raise ValueError("a prompt cannot hold the mask token, which stands for what is to be answered: leave it out")

# SPDX-License-Identifier: Apache-2.0
"""What an answer carries besides its text: boxes, scores, and how sure the network was of each token.

It is a JSON object under `kv_transfer_params["geodit"]` of a response of the OpenAI server and of a `RequestOutput`:
the one field of both that takes whatever an engine has to say. The client's side needs neither vLLM nor a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from geodit.configuration.types_geodit import JsonObject
from geodit.processing.box_scores import DEFAULT_BOX_SCORE, get_box_score, read_box_tokens

if TYPE_CHECKING:
    from geodit.processing.processing_geodit import GeoDiTProcessor
    from geodit_vllm.requests import Question

__all__ = ["FACTS", "facts_of", "read_facts"]

FACTS = "geodit"
"""Name of the facts in `kv_transfer_params`."""


def facts_of(
    processor: GeoDiTProcessor,
    request: Question,
    token_ids: Sequence[int],
    confidences: ArrayLike,
    end_probabilities: ArrayLike,
    *,
    steps: int,
    image_size: tuple[int, int] | None = None,
    commit_steps: ArrayLike | None = None,
    answer_probabilities: ArrayLike | None = None,
    box_score: str = DEFAULT_BOX_SCORE,
) -> JsonObject:
    """Return what an answer carries, in types that JSON and MessagePack have.

    Args:
        processor: The processor of the model.
        request: What was asked.
        token_ids: `(L,)`, the canvas.
        confidences: `(L,)`, the probability of each token when it was committed.
        end_probabilities: `(L,)`, that of EOS in its place.
        steps: In how many steps it was denoised.
        image_size: `(height, width)` of the original image in pixels; by default what the request knows of it.
        commit_steps: `(L,)`, the step at which each token was committed, counted from 0; -1 for never.
        answer_probabilities: `(C,)`, of each of the choices.
        box_score: How boxes are scored, a key of [`~geodit.processing.box_scores.BOX_SCORES`].

    Returns:
        An object of

        * `task`, `query`: what was asked; `None` and empty where no task was named,
        * `text`: the answer up to its end,
        * `image_size`: `[height, width]` in pixels, `None` if unknown,
        * `boxes`: `[x1, y1, x2, y2]` in pixels of the original image; in shares of its sides where `image_size` is
          `None`,
        * `labels`, `scores`: one a box, and `corners` where a box is turned,
        * `parsed`: whether all of the answer was understood; `None` without a task,
        * `choices`: the probability of each choice, `None` without choices,
        * `token_ids`, `confidences`, `end_probabilities`, `commit_steps`: of the L places of the canvas,
        * `answer_probabilities`: as given,
        * `steps`.

    Raises:
        ValueError: If the arrays are not of one length, or there is no such score.
    """
    ids = [int(token) for token in token_ids]
    sure, ends = _numbers(confidences), _numbers(end_probabilities)
    rule = get_box_score(box_score)
    size = image_size or request.image_size
    text = str(processor.decode_canvas(ids)).strip()
    facts: JsonObject = {
        "task": request.task,
        "query": request.query,
        "text": text,
        "image_size": None if size is None else [int(size[0]), int(size[1])],
        "boxes": [],
        "labels": [],
        "scores": [],
        "parsed": None,
        "choices": None,
        "token_ids": ids,
        "confidences": sure,
        "end_probabilities": ends,
        "commit_steps": None if commit_steps is None else np.asarray(commit_steps).astype(int).tolist(),
        "answer_probabilities": None,
        "steps": int(steps),
    }
    if request.task is not None:
        pixels = size or (1, 1)
        answer = processor.post_process_generation(text, request.task, pixels, query=request.query)
        facts.update(answer)
        if answer["boxes"]:
            facts["scores"] = [rule(tokens) for tokens in read_box_tokens(processor, ids, pixels, sure, ends)]
    if answer_probabilities is not None and request.choices:
        probabilities = _numbers(answer_probabilities)[: len(request.choices)]
        facts["answer_probabilities"] = probabilities
        names = [choice.strip() for choice in request.choices]
        facts["choices"] = dict(zip(names, probabilities, strict=True))
    plain: JsonObject = _plain(facts)
    return plain


def read_facts(response: object) -> JsonObject:
    """Return what an answer carries.

    Example:
        >>> response = client.chat.completions.create(model="geodit-8b", messages=messages, extra_body={
        ...     "vllm_xargs": {"task": "detect"}})
        >>> read_facts(response)["boxes"]
        [[43.5, 65.2, 71.0, 88.4]]

    Args:
        response: A response of the `openai` client or of any other, as an object or as the dictionary of its JSON, or
            vLLM's `RequestOutput`.

    Returns:
        The object that [`facts_of`] describes.

    Raises:
        ValueError: If it carries nothing, such as a part of a stream or the answer of another model.
    """
    given = response.get("kv_transfer_params") if isinstance(response, Mapping) else None
    if given is None and not isinstance(response, Mapping):
        given = getattr(response, "kv_transfer_params", None)
        if given is None:  # clients keep fields that they do not know aside
            given = (getattr(response, "model_extra", None) or {}).get("kv_transfer_params")
    facts = given.get(FACTS) if isinstance(given, Mapping) else None
    if not isinstance(facts, Mapping):
        raise ValueError(
            "the response carries no boxes or scores: read them from a whole response of a GeoDiT model, not from the "
            "parts of a stream"
        )
    return dict(facts)


def _numbers(values: ArrayLike) -> list[float]:
    """Return plain numbers; JSON has none that are not finite."""
    array = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    return [float(value) for value in array.ravel()]


def _plain(value: Any) -> Any:
    """Return the same in types that JSON has."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest

from geodit.processing.tasks_geodit import DEFAULT_TASKS, Task, load_tasks, resolve_task


def test_the_default_tasks_have_the_canvas_lengths_of_the_paper() -> None:
    lengths = {name: task.max_new_tokens for name, task in DEFAULT_TASKS.items()}
    assert lengths == {"caption": 16, "ground": 8, "detect": 32, "vqa": 8, "classify": 8}


def test_boxes_answer_grounding_and_detection() -> None:
    assert [name for name, task in DEFAULT_TASKS.items() if task.answer == "boxes"] == ["ground", "detect"]


@pytest.mark.parametrize(
    ("name", "query", "prompt"),
    [
        ("caption", "", "Describe the image."),
        ("ground", "the white ship", "Locate: the white ship."),
        ("detect", " storage tank ", "Detect: storage tank."),
        ("vqa", "How many ships are there?", "How many ships are there?"),
        ("classify", "", "Classify the scene."),
    ],
)
def test_prompts(name: str, query: str, prompt: str) -> None:
    assert DEFAULT_TASKS[name].format_prompt(query) == prompt


def test_a_query_is_not_read_as_a_format_string() -> None:
    assert DEFAULT_TASKS["detect"].format_prompt("{query} {0} {") == "Detect: {query} {0} {."


def test_a_task_that_needs_a_query_says_so() -> None:
    with pytest.raises(ValueError, match="'detect' needs a query"):
        DEFAULT_TASKS["detect"].format_prompt(" ")


def test_a_task_without_a_query_refuses_one() -> None:
    with pytest.raises(ValueError, match="'caption' takes no query, got 'ship'"):
        DEFAULT_TASKS["caption"].format_prompt("ship")


def test_an_unknown_task_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'segment'.*caption, ground, detect, vqa, classify"):
        resolve_task(DEFAULT_TASKS, "segment")


def test_tasks_survive_json() -> None:
    saved = json.loads(json.dumps({name: task.to_dict() for name, task in DEFAULT_TASKS.items()}))
    assert load_tasks(saved) == DEFAULT_TASKS


def test_a_task_can_be_given_without_its_name_and_kind() -> None:
    assert load_tasks({"count": {"prompt": "Count: {query}.", "max_new_tokens": 4}}) == {
        "count": Task("count", "Count: {query}.", 4, "text")
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": "{other}"}, "{query} and no other"),
        ({"prompt": "{query.__class__}"}, "{query} and no other"),
        ({"prompt": "{}"}, "{query} and no other"),
        ({"prompt": "{"}, "not a format string"),
        ({"prompt": None}, "not a format string"),
        ({"max_new_tokens": 0}, "positive integer"),
        ({"max_new_tokens": 1.5}, "positive integer"),
        ({"max_new_tokens": True}, "positive integer"),
        ({"answer": "mask"}, "text, boxes"),
        ({"name": "y"}, "is called 'y'"),
        ({"length": 4}, "name, prompt, max_new_tokens, answer"),
    ],
)
def test_wrong_tasks(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_tasks({"x": {"prompt": "p", "max_new_tokens": 8, **fields}})


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({}, "at least one"),
        ({"x": 3}, "needs the fields"),
        ({"": {"prompt": "p", "max_new_tokens": 8}}, "needs a name"),
    ],
)
def test_wrong_tables(tasks: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_tasks(tasks)

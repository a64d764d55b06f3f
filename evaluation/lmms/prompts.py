# SPDX-License-Identifier: Apache-2.0
"""Prompts of lmms-eval's tasks, understood as questions of our own tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from geodit.processing.tasks_geodit import DEFAULT_TASKS, Task

__all__ = ["AskedTask", "asked_task"]


class AskedTask(NamedTuple):
    """One of our tasks and what is asked."""

    task: str
    query: str = ""


def asked_task(tasks: Mapping[str, Task], prompt: str) -> AskedTask:
    """Find the task whose prompt is given.

    A prompt is that of the checkpoint or the default one. A prompt of no other task is a visual question: that task
    passes on what it is asked.

    Args:
        tasks: The tasks of a processor.
        prompt: The prompt as the processor would write it, such as `Locate: the red ship.`

    Raises:
        ValueError: If the prompt is empty, or it is of no task, as there is none that takes any question.
    """
    prompt = prompt.strip()
    if not prompt:
        raise ValueError("the prompt is empty: GeoDiT needs a question")
    found = None
    defaults = {name: task for name, task in DEFAULT_TASKS.items() if name in tasks}
    for name, task in (*tasks.items(), *defaults.items()):
        if not task.takes_query:
            if task.format_prompt() == prompt:
                return AskedTask(name)
            continue
        before, after = task.prompt.split("{query}", 1)
        match = re.fullmatch(f"{re.escape(before)}(.+){re.escape(after)}", prompt, re.DOTALL)
        if match and (before or after):
            return AskedTask(name, match[1].strip())
        if match and task.answer == "text":
            found = AskedTask(name, prompt)
    if found is None:
        raise ValueError(f"the checkpoint has no task that takes the question {prompt!r:.100}")
    return found

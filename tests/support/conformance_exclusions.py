# SPDX-License-Identifier: Apache-2.0
"""The tests of Transformers' own suite that cannot apply here: all of them, each with its reason.

A name is that of a method of the suite's class: a test that is run for several parameters has one for each of them.
"""

from __future__ import annotations

import unittest
from collections.abc import Callable, Mapping
from typing import Any

_ONE_IMAGE = "it puts several images into one text, which `anyres_max_<k>` refuses"

TILING_PROCESSOR = {
    "test_apply_chat_template_assistant_mask": _ONE_IMAGE,
    "test_get_num_multimodal_tokens_matches_processor_call": _ONE_IMAGE,
    "test_tokenizer_decode_defaults": "it makes the processor of its parts, without `vision_aspect_ratio`",
}


def excluding(exclusions: Mapping[str, str]) -> Callable[[type[Any]], type[Any]]:
    """Return a class decorator that skips the tests of these names, for the reasons given.

    Raises:
        ValueError: If the class has no test of that name, so that a list cannot outlive the tests on it.
    """

    def decorate(cls: type[Any]) -> type[Any]:
        missing = sorted(name for name in exclusions if not callable(getattr(cls, name, None)))
        if missing:
            raise ValueError(f"{cls.__name__} has no tests {', '.join(missing)}: take them off the list.")
        for name, reason in exclusions.items():
            setattr(cls, name, _skipped(name, reason))
        return cls

    return decorate


def _skipped(name: str, reason: str) -> Callable[[unittest.TestCase], None]:
    def test(self: unittest.TestCase) -> None:
        self.skipTest(f"excluded: {reason}")

    test.__name__ = name
    return test

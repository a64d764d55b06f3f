# SPDX-License-Identifier: Apache-2.0
"""What of Transformers' own tests does not fit masked diffusion, and why. Everything else passes."""

import unittest
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import pytest

_ONE_IMAGE = "it puts several images into one text, which images in tiles do not allow"

GENERATIVE_MODEL = {
    "test_causal_lm_loss_honors_shift_labels": "a label belongs to the token at its own place, none is shifted",
    "test_generation_tester_mixin_inheritance": "its tests are of beams, caches and one token at a time",
}
"""Of `ModelTesterMixin`, for a model that generates."""

TILING_PROCESSOR = {
    "test_apply_chat_template_assistant_mask": _ONE_IMAGE,
    "test_get_num_multimodal_tokens_matches_processor_call": _ONE_IMAGE,
    "test_tokenizer_decode_defaults": "it makes the processor of its parts, without vision_aspect_ratio",
}
"""Of `ProcessorTesterMixin`, for a processor that cuts images into tiles."""


def except_for(exclusions: Mapping[str, str]) -> Callable[[type[Any]], type[Any]]:
    """Return a class decorator that expects tests to fail.

    Args:
        exclusions: The reason by name of the test.

    Raises:
        ValueError: If the class has no test of that name, so that a list cannot outlive the tests on it.
    """

    def expect_failures(test_class: type[Any]) -> type[Any]:
        missing = sorted(name for name in exclusions if not hasattr(test_class, name))
        if missing:
            raise ValueError(f"{test_class.__name__} has no tests {', '.join(missing)}: take them off the list.")
        for name, reason in exclusions.items():
            setattr(test_class, name, _expect_failure(getattr(test_class, name), reason))
        return test_class

    return expect_failures


def without(prefix: str) -> Callable[[type[Any]], type[Any]]:
    """Return a class decorator that leaves out tests which another class runs with the same inputs.

    Args:
        prefix: What their names begin with.

    Raises:
        ValueError: If the class has no such tests.
    """

    def leave_out(test_class: type[Any]) -> type[Any]:
        names = [name for name in dir(test_class) if name.startswith(prefix)]
        if not names:
            raise ValueError(f"{test_class.__name__} has no tests {prefix}...: there is nothing to leave out.")
        for name in names:
            setattr(test_class, name, None)
        return test_class

    return leave_out


def _expect_failure(test: Callable[..., None], reason: str) -> Callable[..., None]:
    def excluded(self: unittest.TestCase) -> None:
        # A subtest would report its failure by itself, and the test pass.
        self.subTest = nullcontext  # type: ignore[assignment]
        test(self)

    return pytest.mark.xfail(strict=True, reason=f"excluded: {reason}")(excluded)


__all__ = ["GENERATIVE_MODEL", "TILING_PROCESSOR", "except_for", "without"]

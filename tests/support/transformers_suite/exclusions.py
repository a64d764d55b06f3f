# SPDX-License-Identifier: Apache-2.0
"""What of Transformers' own tests does not fit masked diffusion, and why. Everything else passes."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest

EXCLUSIONS: dict[str, dict[str, str]] = {
    "ModelTesterMixin": {
        "test_causal_lm_loss_honors_shift_labels": "a label belongs to the token at its own place, none is shifted",
        "test_generation_tester_mixin_inheritance": "its tests are of beams, caches and one token at a time",
    },
}
"""By test class of Transformers: the tests that fail, which is checked, with the reason."""


def except_for(mixin: str) -> Callable[[type], type]:
    """Expect the excluded tests of a class of Transformers to fail, in a class that derives from it."""

    def expect_failures(test_class: type) -> type:
        for name, reason in EXCLUSIONS[mixin].items():
            if hasattr(test_class, name):  # or else another version of Transformers
                setattr(test_class, name, _expect_failure(getattr(test_class, name), reason))
        return test_class

    return expect_failures


def _expect_failure(test: Callable[..., None], reason: str) -> Callable[..., None]:
    def excluded(self):  # type: ignore[no-untyped-def]
        # A subtest would report its failure by itself, and the test pass.
        self.subTest = nullcontext
        test(self)

    return pytest.mark.xfail(strict=True, reason=f"excluded: {reason}")(excluded)

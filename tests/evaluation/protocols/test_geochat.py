# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of GeoChat's quirks."""

import pytest

from answer_records import replied
from geodit.evaluation.protocols import get_protocol


@pytest.mark.parametrize(
    ("truth", "given", "is_right"),
    [
        ("BareLand", "Bare land.", True),
        ("bare land", "bareland", True),
        ("storage_tanks", "storage tanks", False),
        ("forest", "a forest", False),
        ("forest", "", False),
    ],
)
def test_the_whole_answer_is_the_name_of_the_folder(truth, given, is_right):
    assert get_protocol("geochat").score([replied(truth, given, "classify")])["classify"]["accuracy"] == is_right


def test_tasks_without_a_scorer_say_that_none_was_found():
    assert {reason.split(":")[0] for reason in get_protocol("geochat").not_scored.values()} == {"not found"}

# SPDX-License-Identifier: Apache-2.0
"""Runs that are killed and started at random moments, alone and two at a time on one folder, end as undisturbed ones.

`tests/support/run_soak.py` takes other numbers.
"""

import json
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "support" / "run_soak.py"


@pytest.fixture(scope="module")
def soak(training_programs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("soak")
    numbers = {"--kills": "2", "--starts": "3", "--updates": "5", "--seed": "5"}
    arguments = [word for number in numbers.items() for word in number]
    done = training_programs.run([SOAK, folder, *arguments])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_killed_run_ends_with_the_weights_of_one_left_alone_and_stays_so(soak):
    found = soak["kills"]
    del found["runs"]
    assert found == {"killed": 2, "failed": 0, "already_finished": True, "equal": True, "left": []}


def test_of_two_runs_on_one_folder_one_is_refused_and_one_is_whole(soak):
    found = soak["starts"]
    assert (found["failed"], found["equal"], found["left"]) == (0, True, [])
    assert found["ended"] + found["refused"] + found["killed"] == found["starts"] >= 3

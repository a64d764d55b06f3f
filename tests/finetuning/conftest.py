# SPDX-License-Identifier: Apache-2.0
"""A small data set of ships, in three splits."""

import pytest

from finetuning_data import ship_row
from geodit.annotations.stored import write_split


@pytest.fixture
def ships(tmp_path):
    folder = tmp_path / "ships"
    folder.mkdir()
    write_split(folder, "train", (ship_row(number) for number in range(8)))
    write_split(folder, "validation", (ship_row(number) for number in range(8, 10)))
    write_split(folder, "test", (ship_row(number) for number in range(10, 13)))
    return folder

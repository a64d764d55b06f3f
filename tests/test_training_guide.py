# SPDX-License-Identifier: Apache-2.0
"""docs/your-own-training-code.md is run as it stands."""

import re

import pytest
import torch

from geodit import GeoDiTForMaskedDiffusion
from guide_reader import CHECKOUT, GuideReader, blocks_of

GUIDE = "docs/your-own-training-code.md"


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """Someone who has followed the guide in an empty folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("work"))
        reader = GuideReader()
        for language, text in blocks_of(GUIDE, {}):
            if language != "diff":  # it says what becomes of a script of trl's, the block after it is the outcome
                reader.follow(language, text)
    return reader


def test_every_trainer_of_the_guide_has_trained(reader):
    assert reader.names["trainer"].state.global_step == 2
    assert isinstance(reader.names["answer"], str)
    assert reader.names["loss"].isfinite()
    before = GeoDiTForMaskedDiffusion.from_pretrained(reader.names["bundled_checkpoint"](), dtype=torch.float32)
    after = reader.names["model"].state_dict()
    assert not after["lm_head.weight"].equal(before.lm_head.weight)


def test_the_new_lines_of_the_difference_are_those_that_were_run():
    ((_, difference),) = [block for block in blocks_of(GUIDE, {}) if block[0] == "diff"]
    outcome = next(text for kind, text in blocks_of(GUIDE, {}) if "GeoDiTTrainer(" in text and kind == "python")
    plain = [re.sub(r"  # .*", "", line) for line in outcome.splitlines()]
    assert {line[1:] for line in difference.splitlines() if line[:1] in ("+", " ")} <= {*plain, ""}


def test_readers_of_the_readme_are_sent_there():
    assert f"({GUIDE})" in (CHECKOUT / "README.md").read_text(encoding="utf-8")

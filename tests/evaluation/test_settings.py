# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from geodit.evaluation.settings import DecodingSettings


def test_the_defaults_are_those_of_the_paper():
    settings = DecodingSettings()
    assert (settings.steps, settings.remasking, settings.temperature) == (8, "low_confidence", 0)


def test_json_has_all_of_them():
    settings = DecodingSettings(closed_set=("classify",))
    assert json.loads(json.dumps(settings.to_dict())) == settings.to_dict()
    assert settings.to_dict().items() >= {"fill_after_eos": True, "structured": True}.items()
    assert settings.to_dict()["closed_set"] == ["classify"]


@pytest.mark.parametrize(
    ("settings", "deterministic"),
    [
        ({}, True),
        ({"temperature": 0.5}, False),
        ({"remasking": "random"}, False),
        ({"guidance_scale": 2.0}, True),
    ],
)
def test_when_seeds_matter(settings, deterministic):
    assert DecodingSettings(**settings).is_deterministic is deterministic


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "max_denoising_steps must be"),
        ({"remasking": "loud"}, "remasking must be one of 'low_confidence', 'random'"),
        ({"temperature": -1.0}, "temperature must be"),
        ({"guidance_scale": 0.5}, "guidance_scale must be"),
        ({"block_length": 0}, "block_length must be"),
        ({"seed": -1}, "seed must be"),
        ({"closed_set": ("classes",)}, "unknown tasks"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DecodingSettings(**settings)

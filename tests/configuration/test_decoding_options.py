# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import fields, replace

import pytest

from geodit.configuration.decoding_options import DecodingOptions
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig


def test_options_that_are_not_given_are_left_to_the_model():
    assert DecodingOptions().generate_arguments() == {}
    options = DecodingOptions(4, temperature=0.0, fill_after_eos=False, capture_step=True, seed=1)
    assert options.generate_arguments() == {
        "max_denoising_steps": 4,
        "temperature": 0.0,
        "fill_after_eos": False,
        "capture_step": True,
    }


def test_defaults_turn_off_what_the_model_may_have_on():
    arguments = DecodingOptions(remasking="random").with_defaults().generate_arguments(by_model=False)
    model = GeoDiTGenerationConfig(confidence_threshold=0.9, block_length=4, max_denoising_steps=20)
    config = GeoDiTGenerationConfig.from_generation_config(model, **arguments)
    assert config.to_dict() == GeoDiTGenerationConfig(remasking="random").to_dict()


def test_every_option_about_generation_is_one_of_the_generation_configuration():
    names = {field.name for field in fields(DecodingOptions)} - {"structured", "closed_set"}
    assert names < GeoDiTGenerationConfig().to_dict().keys()


def test_files_of_results_have_the_names_that_they_always_had():
    document = DecodingOptions(closed_set=("classify",)).with_defaults().to_dict()
    assert json.loads(json.dumps(document)) == document
    assert document == {
        "steps": 8,
        "remasking": "low_confidence",
        "temperature": 0.0,
        "guidance_scale": 1.0,
        "block_length": None,
        "confidence_threshold": None,
        "entropy_bound": None,
        "prefix_refresh_steps": 1,
        "fill_after_eos": True,
        "seed": None,
        "structured": True,
        "closed_set": ["classify"],
    }


@pytest.mark.parametrize(
    ("options", "deterministic"),
    [
        ({}, True),
        ({"temperature": 0.5}, False),
        ({"remasking": "random"}, False),
        ({"guidance_scale": 2.0}, True),
    ],
)
def test_when_seeds_matter(options, deterministic):
    assert DecodingOptions(**options).is_deterministic is deterministic


def test_options_that_are_not_the_default_are_named():
    default = DecodingOptions().with_defaults()
    assert str(default) == "N = 8, low confidence"
    assert str(replace(default, closed_set=("vqa",))) == "N = 8, low confidence, closed set of answers: vqa"
    other = DecodingOptions(4, "random", temperature=0.5, guidance_scale=2.0, block_length=8)
    assert str(other) == "N = 4, random, temperature 0.5, guidance 2, blocks of 8"
    assert str(DecodingOptions()) == ""


@pytest.mark.parametrize("make", [DecodingOptions, DecodingOptions().with_changes, DecodingOptions(3).with_changes])
def test_the_old_name_of_the_steps_works_with_a_warning_where_it_is_used(make):
    def call(**arguments):
        return make(**arguments)

    with pytest.warns(DeprecationWarning, match="steps is now max_denoising_steps") as warnings:
        options = call(steps=5)
    assert options == DecodingOptions(max_denoising_steps=5)
    assert warnings[0].filename == __file__


@pytest.mark.parametrize("make", [DecodingOptions, DecodingOptions().with_changes])
def test_both_names_of_the_steps_are_refused(make):
    with pytest.raises(ValueError, match="give max_denoising_steps only"):
        make(steps=5, max_denoising_steps=6)


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_seeds_are_whole_numbers_from_zero_on(seed):
    with pytest.raises(ValueError, match="seed must be an integer >= 0"):
        DecodingOptions(seed=seed)


def test_unknown_options_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="no decoding option heat: the options are max_denoising_steps, remasking"):
        DecodingOptions().with_changes(heat=1.0)

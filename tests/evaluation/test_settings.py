# SPDX-License-Identifier: Apache-2.0
import pytest

from geodit.configuration.decoding_options import DecodingOptions
from geodit.evaluation.settings import evaluation_options


def test_the_defaults_are_those_of_the_paper():
    options = evaluation_options()
    assert (options.max_denoising_steps, options.remasking, options.temperature, options.seed) == (
        8,
        "low_confidence",
        0,
        0,
    )


def test_what_is_given_stays():
    given = DecodingOptions(2, "random", seed=7, block_length=4, structured=False, closed_set=("vqa",))
    options = evaluation_options(given)
    assert (options.max_denoising_steps, options.remasking, options.seed, options.block_length) == (2, "random", 7, 4)
    assert not options.structured
    assert options.closed_set == ("vqa",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_denoising_steps": 0}, "max_denoising_steps must be"),
        ({"remasking": "loud"}, "remasking must be one of 'low_confidence', 'random'"),
        ({"temperature": -1.0}, "temperature must be"),
        ({"guidance_scale": 0.5}, "guidance_scale must be"),
        ({"block_length": 0}, "block_length must be"),
        ({"entropy_bound": 1.0}, "entropy_bound needs remasking to be one of 'high_entropy'"),
        ({"closed_set": ("classes",)}, "unknown tasks"),
    ],
)
def test_invalid_options_are_refused_before_a_run(options, message):
    with pytest.raises(ValueError, match=message):
        evaluation_options(DecodingOptions(**options))

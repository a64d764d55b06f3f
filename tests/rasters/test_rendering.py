# SPDX-License-Identifier: Apache-2.0
"""Which values of a band become black and white, and what is no data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.rasters.rendering import Rendering, StretchRule

RAMP = np.arange(0, 1001, dtype=np.uint16).reshape(1, -1, 1)


def shown(bands, rendering, valid=None, statistics=None):
    """The gray values of a whole image, which is its own sample."""
    stretch = rendering.fit(bands, valid, statistics)
    return rendering.apply(bands, rendering.valid(bands, valid), stretch)[..., 0]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("none", StretchRule("none")),
        ("auto", StretchRule()),
        ("statistics", StretchRule("statistics")),
        ("300,2850", StretchRule("limits", 300, 2850)),
        ("-25, 0.5", StretchRule("limits", -25, 0.5)),
        ("p2,98", StretchRule("percentiles", 2, 98)),
        ("P0.5,99.5", StretchRule("percentiles", 0.5, 99.5)),
    ],
)
def test_a_stretch_is_read_as_a_user_writes_it(text, rule):
    assert StretchRule.parse(text) == rule


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("3", "two values such as 300,2850"),
        ("1,2,3", "two percentiles such as p2,98"),
        ("minmax", "not 'minmax'"),
        ("5,5", "lower to a higher"),
        ("9,nan", "lower to a higher"),
        ("p2,101", "0 to 100"),
    ],
)
def test_what_is_no_stretch_is_refused(text, named):
    with pytest.raises(ValueError, match=named):
        StretchRule.parse(text)


def test_8_bits_are_shown_as_they_are_and_all_else_between_percentiles():
    bytes_ = np.arange(50, 100, dtype=np.uint8).reshape(1, -1, 1)
    assert np.array_equal(shown(bytes_, Rendering()), bytes_[..., 0])
    gray = shown(RAMP, Rendering())
    assert (gray[0, 20], gray[0, 500], gray[0, 980]) == (0, 128, 255)


def test_none_shows_values_up_to_255_whatever_their_type():
    floats = np.array([[[-3.0], [0.4], [127.6], [255.0], [900.0]]], dtype=np.float32)
    assert shown(floats, Rendering(StretchRule("none"))).tolist() == [[0, 0, 128, 255, 255]]


@pytest.mark.parametrize(
    ("rule", "statistics"), [(StretchRule("limits", 100, 600), None), (StretchRule("statistics"), [(100.0, 600.0)])]
)
def test_limits_are_those_of_the_user_or_of_the_file(rule, statistics):
    gray = shown(RAMP, Rendering(rule), statistics=statistics)
    assert (gray[0, 99], gray[0, 350], gray[0, 601]) == (0, 128, 255)


def test_a_file_without_statistics_is_refused():
    with pytest.raises(ValueError, match="states no minimum and maximum"):
        Rendering(StretchRule("statistics")).fit(RAMP, None, [None])


def test_gamma_brightens_what_is_dark():
    rule = StretchRule("limits", 0, 1000)
    assert shown(RAMP, Rendering(rule, gamma=2.0))[0, 250] == 128
    with pytest.raises(ValueError, match="gamma"):
        Rendering(gamma=0.0)


def test_powers_are_shown_as_decibels():
    powers = np.array([[[0.001], [0.01], [0.1], [1.0], [0.0]]], dtype=np.float32)
    gray = shown(powers, Rendering(StretchRule("limits", -30, 0), decibels=True))
    assert gray.tolist() == [[0, 85, 170, 255, 0]]


@given(st.lists(st.integers(0, 5), min_size=6, max_size=6), st.integers(0, 5))
def test_a_pixel_has_no_data_if_no_band_has(values, nodata):
    bands = np.array(values, dtype=np.uint8).reshape(1, 2, 3)
    valid = Rendering(nodata=nodata).valid(bands, None)
    assert valid is not None
    assert valid.tolist() == [[any(value != nodata for value in pixel) for pixel in (values[:3], values[3:])]]


def test_no_data_is_black_and_left_out_of_the_percentiles():
    bands = np.concatenate([RAMP, np.full((1, 500, 1), 60_000, np.uint16)], axis=1)
    gray = shown(bands, Rendering(nodata=60_000))
    assert gray[0, 1001:].max() == 0
    assert np.array_equal(gray[:, :1001], shown(RAMP, Rendering()))


def test_a_band_without_any_data_or_contrast_is_black():
    assert shown(np.full((4, 4, 1), np.nan), Rendering()).max() == 0
    assert shown(np.full((4, 4, 1), 700, np.uint16), Rendering()).max() == 0


def test_doubts_name_bands_that_are_flat_or_mostly_one_value():
    flat, mostly, varied = (
        np.full((10, 10), 4),
        np.arange(100).reshape(10, 10) // 60 * 9,
        np.arange(100).reshape(10, 10),
    )
    sample = np.stack([flat, mostly, varied], axis=-1)
    assert Rendering().doubts(sample, None, ["red", "green", "blue"]) == [
        "red is 4 everywhere",
        "60% of green is 0: if that means no data, give it as nodata",
    ]

# SPDX-License-Identifier: Apache-2.0
"""CVAT's shapes and tags come out."""

from __future__ import annotations

import numpy as np
import pytest

BOX = '<box label="ship" occluded="0" xtl="{}" ytl="{}" xbr="{}" ybr="{}" rotation="{}" z_order="0"/>'


@pytest.fixture
def write(folder):
    def write_file(*shapes, name="a.png", size='width="80" height="40"'):
        path = folder / "annotations.xml"
        image = f'<image id="0" name="{name}" {size} subset="Validation">{"".join(shapes)}</image>'
        path.write_text(
            f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>{image}</annotations>'
        )
        return folder

    return write_file


def test_shapes_become_boxes_and_tags_the_class_of_the_image(write, read):
    source = write(
        '<tag label="harbor " source="manual"></tag><tag label="sea"/>',
        BOX.format(1.5, 2, 30, 12, "0.0"),
        BOX.format(20, 10, 40, 20, "30"),
        '<polygon label="field" points="1,2;9.5,3;4,8"><attribute name="crop">corn</attribute></polygon>',
        '<ellipse label="tank" cx="30" cy="20" rx="10" ry="5" rotation="90"/>',
        '<mask label="field" rle="1, 2" left="3" top="4" width="5" height="6"/>',
    )
    for path in (source, source / "annotations.xml"):
        images, bad = read(path)
        assert bad == []
        image = images["a.png"]
        assert (image.category, image.split, image.image_size) == ("harbor", "validation", (40, 80))
        box, turned, polygon, ellipse, mask = image.objects
        assert (box.label, box.box, box.corners) == ("ship", (1.5, 2, 30, 12), None)
        assert np.allclose(turned.corners[0], (30 - 10 * 3**0.5 / 2 + 2.5, 15 - 5 - 5 * 3**0.5 / 2))
        assert (polygon.label, polygon.box) == ("field", (1, 2, 9.5, 8))
        assert np.allclose(ellipse.box, (25, 10, 35, 30))
        assert mask.box == (3, 4, 8, 10)


def test_what_is_wrong_is_said_and_reading_goes_on(write, read):
    source = write(
        '<points label="ship" points="1,2"/>',
        '<polyline label="road" points="1,2;3,4"/>',
        BOX.format(9, 2, 3, 12, "0"),
        BOX.format(1, 2, 3, "nan", "0"),
        BOX.format(1, 2, 3, 4, "x"),
        '<box label="ship" xtl="1"/>',
        '<polygon label="ship" points="1,2;3"/>',
        '<polygon label="ship"/>',
        '<box xtl="1" ytl="2" xbr="3" ybr="4"/>',
        BOX.format(1, 2, 3, 4, "0"),
    )
    images, bad = read(source)
    assert [found.line for found in images["a.png"].objects] == [10]
    assert images["a.png"].partial_labels == {"ship", "road"}
    expected = [f"annotations.xml, image 1, shape {number}" for number in range(1, 10)]
    assert [line.partition(":")[0] for line in bad] == expected
    assert bad[0].endswith("a shape of the kind 'points' has no box")


@pytest.mark.parametrize(
    "image", [{"name": "gone.png"}, {"name": ""}, {"size": 'width="80"'}, {"size": 'width="0" height="4"'}]
)
def test_an_image_that_cannot_be_used_is_said(write, read, image):
    images, bad = read(write(BOX.format(1, 2, 3, 4, 0), **image))
    assert images == {}
    assert len(bad) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotation/>", "its outermost element is <annotation>"),
        ("<annotations><image", "is not XML"),
        ("<annotations><track id='0'/></annotations>", "has tracks of a video: export it as"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]><annotations/>", "has a DOCTYPE, which is not read"),
        ("", "is not XML"),
    ],
)
def test_other_xml_is_one_error(folder, read, text, reason):
    (folder / "annotations.xml").write_text(text)
    with pytest.raises(ValueError, match=reason):
        read(folder, "cvat")

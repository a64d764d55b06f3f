# SPDX-License-Identifier: Apache-2.0
"""Whatever is in a file, a reader yields records or ends with one line."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from geodit.annotations.formats.registry import FORMATS
from geodit.annotations.records import BadRecord, LabeledImage

SHAPE = {"label": "a", "points": [[1, 2], [3, 4]], "shape_type": "rectangle"}
REGION = {
    "id": "r",
    "type": "rectanglelabels",
    "original_width": 8,
    "original_height": 8,
    "value": {"x": 1, "y": 2, "width": 3, "height": 4, "rotation": 5, "rectanglelabels": ["a"]},
}
MASK = {"size": [8, 8], "counts": "T1"}
JSON = {
    "coco": {
        "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
        "annotations": [
            {
                "image_id": 1,
                "category_id": 1,
                "bbox": [1, 2, 3, 4],
                "segmentation": [[1, 2, 3, 4, 5, 6]],
                "iscrowd": 0,
            },
            {"image_id": 1, "category_id": 1, "segmentation": MASK},
            {"image_id": 1, "caption": "a"},
        ],
        "categories": [{"id": 1, "name": "a"}],
    },
    "xview": {"features": [{"properties": {"bounds_imcoords": "1,2,3,4", "type_id": 11, "image_id": "a.png"}}]},
    "labelme": {"shapes": [SHAPE, SHAPE | {"shape_type": "circle"}], "imagePath": "a.png", "imageHeight": 8},
    "label-studio": [
        {
            "annotations": [
                {"result": [REGION, {"type": "choices", "value": {"choices": ["a"]}}], "was_cancelled": 0}
            ],
            "data": {"image": "a.png"},
        }
    ],
    "captions": [{"image": "a.png", "caption": "a", "captions": ["b"], "split": "train", "group": "g"}],
    "questions": [{"image": "a.png", "question": "a", "answer": 1, "category": "c"}],
}
TEXT = {
    "yolo": "0 0.5 0.5 0.1 0.1\n0 0.1 0.1 0.5 0.1 0.5 0.5\n",
    "voc": "<annotation><filename>a.png</filename><size><width>8</width><height>8</height></size><object>"
    "<name>a</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object></annotation>",
    "dota": "gsd:1\n1 1 5 1 5 5 1 5 a 0\n1 3 3 1 5 3 3 5 a 1\n",
    "deepforest": "image_path,xmin,ymin,xmax,ymax,label\na.png,1,2,3,4,a\n",
    "cvat": '<annotations><image name="a.png" width="8" height="8"><box label="a" xtl="1" ytl="2" xbr="3" ybr="4" '
    'rotation="5"/><polygon label="a" points="1,2;3,4;5,2"/><tag label="a"/></image></annotations>',
    "captions": "image,caption\na.png,b\n",
    "questions": 'image,question,answer\na.png,"b, c",d\n',
}
FILES = {
    "yolo": "a.txt",
    "voc": "a.xml",
    "dota": "a.txt",
    "cvat": "annotations.xml",
}
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1e308, -1e308, 2**70, 10**400, math.nan, math.inf, "", "a", "nan", "\0", "../x", "/"]),
    st.just([]),
    st.just({}),
    st.just([[[]]]),
    st.just({"a": [1]}),
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A folder per format, with the image that its annotations name."""
    folders = {}
    for name in FORMATS:
        folders[name] = tmp_path_factory.mktemp(name)
        Image.new("RGB", (8, 8)).save(folders[name] / "a.png")
        (folders[name] / "b.png").write_bytes(b"no image")
    (folders["yolo"] / "classes.txt").write_text("a\n")
    return folders


def read_all(name, source):
    """Read a source: there is nothing else than records, and at most one error, of one line."""
    records, error = [], ""
    FORMATS[name].matches(source)
    try:
        for record in FORMATS[name].read(source):
            records.append(record)  # noqa: PERF402  # those before an error count
    except ValueError as caught:
        error = str(caught)
    assert "\n" not in error
    assert len(error) < 1000
    for record in records:
        if isinstance(record, BadRecord):
            assert record.reason
            assert record.reason.isprintable()
            assert len(record.reason) < 1000
        else:
            check_image(record)
    return records


def read_content(name, folder, content):
    path = folder / FILES.get(name, "x")
    path.write_bytes(content)
    return read_all(name, folder if name in FILES else path)


def check_image(image):
    assert isinstance(image, LabeledImage)
    for found in image.objects:
        x1, y1, x2, y2 = found.box
        assert -1e10 < x1 <= x2 < 1e10
        assert -1e10 < y1 <= y2 < 1e10
        assert found.label.strip()
    assert image.image_size is None or min(image.image_size) > 0
    assert all(text.strip() for text in image.captions)
    assert image.split in ("", "train", "validation", "test")


def paths_in(value, path=()):
    """The places of all values in JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths_in(inner, (*path, key))


def replaced(value, path, other):
    if not path:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], other)
    return copy


FUZZ = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("name", JSON)
def test_values_of_other_types(sources, name):
    @FUZZ
    @given(st.lists(st.tuples(st.sampled_from(list(paths_in(JSON[name]))), ODD), min_size=1, max_size=2))
    def check(changes):
        content = JSON[name]
        for path, other in changes:
            try:
                content = replaced(content, path, other)
            except (TypeError, LookupError, ValueError):
                continue  # the first change took the place of the second away
        read_content(name, sources[name], json.dumps(content).encode())

    check()


CASES = [(name, json.dumps(content).encode()) for name, content in JSON.items()]
CASES += [(name, text.encode()) for name, text in TEXT.items()]


@pytest.mark.parametrize(("name", "content"), CASES)
def test_the_case_itself_is_read(sources, name, content):
    records = read_content(name, sources[name], content)
    assert any(isinstance(record, LabeledImage) for record in records)


@pytest.mark.parametrize(("name", "content"), CASES)
def test_bytes_that_are_changed_cut_off_or_put_in(sources, name, content):
    places = st.integers(0, len(content))
    pieces = st.one_of(
        st.binary(max_size=6),
        st.sampled_from([b"nan", b"inf", b"-1", b"1e999", b"9" * 5000, b"\xff\xfe", b"\0", b"&a;", b'"', b"[" * 3000]),
    )

    @FUZZ
    @given(places, places, pieces)
    @example(0, len(content), b"")
    @example(0, len(content), "\ufeff".encode() + content)
    @example(0, len(content), content.decode().encode("utf-16"))
    @example(0, len(content), b"[" * 100_000)
    @example(0, len(content), b"<a>" * 100_000)
    @example(0, len(content), b'<!DOCTYPE a [<!ENTITY b "c">]>' + content)
    @example(0, len(content), b'<?xml version="1.0" encoding="klingon"?>' + content)
    def check(start, stop, piece):
        read_content(name, sources[name], content[: min(start, stop)] + piece + content[max(start, stop) :])

    check()


@pytest.mark.parametrize("name", ["data.yaml", "classes.txt"])
def test_settings_of_yolo(tmp_path, name):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text(TEXT["yolo"])
    content = b"path: .\ntrain: ./\nval: [a.png, ../..]\nnames: {0: a, 1: b}\n"

    @FUZZ
    @given(
        st.integers(0, len(content)),
        st.integers(0, len(content)),
        st.one_of(st.binary(max_size=5), st.text(max_size=3)),
    )
    @example(0, len(content), b"names: &a [*a]")
    @example(0, len(content), b"names: !!python/object/apply:os.system [ls]")
    @example(0, len(content), b"names: [a]\ntrain: " + b"x/" * 5000)
    @example(0, len(content), b'names: [a]\ntrain: "\\0"')
    @example(0, len(content), b"names: {" + b"9" * 6000 + b": a}")
    def check(start, stop, piece):
        piece = piece if isinstance(piece, bytes) else piece.encode()
        (tmp_path / name).write_bytes(content[: min(start, stop)] + piece + content[max(start, stop) :])
        read_all("yolo", tmp_path)

    check()

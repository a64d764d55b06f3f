# SPDX-License-Identifier: Apache-2.0
"""Data sets as they are published on the Hub, written by the library `datasets`."""

import io
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Features, List, Sequence, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from geodit.annotations.formats.hub_tables import HUB_TABLES, read_hub_tables
from geodit.annotations.records import BadRecord, LabeledImage, TextAnswer

NAMES = ["plane", "ship"]
BOXES = [[[10.0, 5.0, 20.0, 10.0], [0.0, 0.0, 8.0, 4.5]], [], [[1.0, 2.0, 3.0, 4.0]]]
CLASSES = [[0, 1], [], [1]]


def picture(number=0, form="PNG", size=(80, 40)):
    width, height = size
    pixels = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def pictures(number=3):
    return [{"bytes": picture(index, "JPEG" if index == 1 else "PNG"), "path": None} for index in range(number)]


def write(path, columns, features):
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=Features(features)).to_parquet(path)
    return path


def read(source, tmp_path, **arguments):
    """The images and bad records of a source, in their order."""
    records = list(read_hub_tables(source, images=tmp_path / "unpacked", **arguments))
    images = [record for record in records if isinstance(record, LabeledImage)]
    return images, [record for record in records if isinstance(record, BadRecord)]


def found(image):
    return [(one.label, one.box) for one in image.objects]


EXPECTED = [
    [("plane", (10.0, 5.0, 30.0, 15.0)), ("ship", (0.0, 0.0, 8.0, 4.5))],
    [],
    [("ship", (1.0, 2.0, 4.0, 6.0))],
]


@pytest.mark.parametrize("layout", ["lists", "objects", "sequence", "columns"])
def test_objects_come_with_their_classes(tmp_path, layout):
    """A column of lists as in CPPE-5, of objects, as `Sequence` writes it, or columns of their own."""
    one = {"id": Value("int64"), "bbox": List(Value("float32"), length=4), "category": ClassLabel(names=NAMES)}
    rows = [
        [{"id": 7, "bbox": box, "category": number} for box, number in zip(boxes, classes, strict=True)]
        for boxes, classes in zip(BOXES, CLASSES, strict=True)
    ]
    lists = [
        {"id": [7] * len(boxes), "bbox": boxes, "category": classes}
        for boxes, classes in zip(BOXES, CLASSES, strict=True)
    ]
    columns = {"image_id": [1, 2, 3], "image": pictures()}
    features = {"image_id": Value("int64"), "image": datasets.Image()}
    if layout == "lists":
        columns["objects"], features["objects"] = lists, {name: List(kind) for name, kind in one.items()}
    elif layout == "objects":
        columns["objects"], features["objects"] = rows, List(one)
    elif layout == "sequence":
        columns["objects"], features["objects"] = lists, Sequence(one)
    else:
        columns |= {"bboxes": BOXES, "labels": CLASSES}
        features |= {"bboxes": List(one["bbox"]), "labels": List(one["category"])}
    path = write(tmp_path / "data/train-00000-of-00001.parquet", columns, features)
    assert HUB_TABLES.matches(path)
    assert HUB_TABLES.matches(tmp_path)
    images, bad = read(tmp_path, tmp_path)
    assert bad == []
    assert [found(image) for image in images] == EXPECTED
    assert {image.split for image in images} == {"train"}
    assert images[0].origin == f"{path}, row 1"


def test_images_are_unpacked_as_they_are(tmp_path):
    features = {"image": datasets.Image(), "label": ClassLabel(names=NAMES)}
    write(tmp_path / "x/test-00000.parquet", {"image": pictures(2), "label": [1, 0]}, features)
    images, _ = read(tmp_path / "x", tmp_path)
    assert [image.category for image in images] == ["ship", "plane"]
    names = ["test-00000-0000001.png", "test-00000-0000002.jpg"]
    assert [path.name for path in sorted((tmp_path / "unpacked").iterdir())] == names
    for image, stored in zip(images, pictures(2), strict=True):
        assert Path(image.image).read_bytes() == stored["bytes"]


@pytest.mark.parametrize(
    ("box_format", "box", "expected"),
    [
        ("xywh", [8.0, 4.0, 16.0, 8.0], (8.0, 4.0, 24.0, 12.0)),
        ("xyxy", [8.0, 4.0, 16.0, 8.0], (8.0, 4.0, 16.0, 8.0)),
        ("yolo", [0.5, 0.5, 0.25, 0.5], (30.0, 10.0, 50.0, 30.0)),
    ],
)
def test_boxes_are_of_the_format_that_is_named(tmp_path, box_format, box, expected):
    features = {
        "image": datasets.Image(),
        "objects": {"bbox": List(List(Value("float32"))), "category": List(Value("string"))},
    }
    columns = {"image": pictures(1), "objects": [{"bbox": [box], "category": ["ship"]}]}
    write(tmp_path / "x.parquet", columns, features)
    images, _ = read(tmp_path / "x.parquet", tmp_path, box_format=box_format)
    assert found(images[0]) == [("ship", expected)]


def test_captions_questions_and_scenes(tmp_path):
    features = {
        "image": datasets.Image(),
        "caption": List(Value("string")),
        "question": Value("string"),
        "answer": Value("string"),
        "label": Value("string"),
    }
    columns = {
        "image": pictures(2),
        "caption": [["A harbor.", "Two  ships."], []],
        "question": ["How many?", None],
        "answer": ["2", None],
        "label": ["harbor", None],
    }
    write(tmp_path / "valid.parquet", columns, features)
    first, second = read(tmp_path / "valid.parquet", tmp_path)[0]
    assert first.captions == ("A harbor.", "Two ships.")
    assert first.answers == (TextAnswer("How many?", "2"),)
    assert (first.category, first.split) == ("harbor", "validation")
    assert (second.captions, second.answers, second.category) == ((), (), "")


def test_what_is_wrong_with_a_row_is_named_and_reading_goes_on(tmp_path):
    stored = [
        {"bytes": None, "path": "/etc/hostname"},
        {"bytes": b"no image", "path": None},
        {"bytes": picture(), "path": None},
        {"bytes": picture(), "path": None},
        {"bytes": picture(), "path": None},
    ]
    box = [1.0, 2.0, 3.0, 4.0]
    objects = [
        {"bbox": [], "category": []},
        {"bbox": [], "category": []},
        {"bbox": [box], "category": []},
        {"bbox": [box, [1.0, 2.0, -3.0, 4.0], [1.0, float("nan"), 3.0, 4.0], [1.0]], "category": [0, 1, 1, 1]},
        {"bbox": [box], "category": [5]},
    ]
    kind = {"bbox": List(List(Value("float32"))), "category": List(ClassLabel(names=NAMES))}
    table = pa.table(
        {"image": stored, "objects": objects}, schema=Features(image=datasets.Image(), objects=kind).arrow_schema
    )
    pq.write_table(table, tmp_path / "x.parquet")
    images, bad = read(tmp_path / "x.parquet", tmp_path)
    assert [found(image) for image in images] == [[("plane", (1.0, 2.0, 4.0, 6.0))], []]
    assert images[0].partial_labels == {"ship"}
    reasons = [record.reason for record in bad]
    assert [record.origin.rpartition("x.parquet, ")[2] for record in bad] == [
        "row 1",
        "row 2",
        "row 3",
        "row 4, object 2",
        "row 4, object 3",
        "row 4, object 4",
        "row 5, object 1",
    ]
    assert reasons[0].startswith("its image is not in the table")
    assert reasons[1].startswith("its image cannot be read")
    assert reasons[2] == "it has 1 boxes and 0 classes"
    assert "must not be negative" in reasons[3]
    assert reasons[6] == "its class 5 is none of the 2 names"


def test_numbers_without_names_are_classes_that_can_be_renamed(tmp_path):
    features = {"image": datasets.Image(), "objects": List({"bbox": List(Value("float32")), "label": Value("int32")})}
    columns = {"image": pictures(1), "objects": [[{"bbox": [1, 2, 3, 4], "label": 4}]]}
    write(tmp_path / "x.parquet", columns, features)
    assert [one.label for one in read(tmp_path / "x.parquet", tmp_path)[0][0].objects] == ["4"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a"]}, "has no column of images, only 'text'"),
        ({"image": [{"bytes": b"1", "path": None}]}, "has nothing about its images that can be read"),
        ({"image": [{"bytes": b"1", "path": None}], "bbox": [[[1.0]]]}, "has boxes without classes"),
    ],
)
def test_tables_of_something_else_are_one_error(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "x.parquet", tmp_path)


def test_what_is_no_table_is_one_error(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and no more")
    assert not HUB_TABLES.matches(tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="is no Parquet file that can be read"):
        read(tmp_path / "x.parquet", tmp_path)
    with pytest.raises(ValueError, match="name the folder for them"):
        list(read_hub_tables(tmp_path / "x.parquet"))
    with pytest.raises(ValueError, match="must be one of xywh, xyxy, yolo, got 'polar'"):
        read(tmp_path / "x.parquet", tmp_path, box_format="polar")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no Parquet files"):
        read(tmp_path / "empty", tmp_path)


@pytest.mark.parametrize(
    "features", [b"", b"[1]", b'{"info": 1}', b"[" * 100_000, b'{"info": {"features": {"objects": [[1]]}}}', b"\xff"]
)
def test_odd_descriptions_of_columns_are_passed_over(tmp_path, features):
    table = pa.table({"image": pictures(1), "objects": [{"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": [1]}]})
    pq.write_table(table.replace_schema_metadata({"huggingface": features}), tmp_path / "x.parquet")
    assert [one.label for one in read(tmp_path / "x.parquet", tmp_path)[0][0].objects] == ["1"]


def read_or_end(path, tmp_path):
    """Read a table to its end, or to an error, which has one line."""
    records, error = [], ""
    try:
        for record in read_hub_tables(path, images=tmp_path / "unpacked"):
            records.append(record)  # noqa: PERF402  # those before an error count
    except ValueError as caught:
        error = str(caught)
    assert "\n" not in error
    return records


ODD = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(), st.text(max_size=3), st.binary(max_size=3)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["bbox", "category", "x"]), inner)
    ),
    max_leaves=6,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            ("image", "objects", "bbox", "category", "label", "caption", "question", "answer", "annotations"), ODD
        ),
    )
)
def test_whatever_is_in_a_table_there_are_records_or_one_line(tmp_path, row):
    columns = {"image": [{"bytes": picture(size=(4, 4)), "path": None}]} | {
        name: [value] for name, value in row.items()
    }
    try:
        table = pa.table(columns)
        pq.write_table(table, tmp_path / "x.parquet")
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError):
        return  # no table has such a column
    records = read_or_end(tmp_path / "x.parquet", tmp_path)
    for record in records:
        if isinstance(record, BadRecord):
            assert record.reason.isprintable()
        else:
            assert all(one.box[0] <= one.box[2] and one.label for one in record.objects)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_table_that_was_damaged_ends_in_one_line(tmp_path, data):
    features = {"image": datasets.Image(), "objects": List({"bbox": List(Value("float32")), "label": Value("string")})}
    columns = {
        "image": [{"bytes": picture(size=(4, 4)), "path": None}],
        "objects": [[{"bbox": [1, 2, 3, 4], "label": "a"}]],
    }
    content = bytearray(write(tmp_path / "x.parquet", columns, features).read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(0, 3))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "y.parquet").write_bytes(content)
    HUB_TABLES.matches(tmp_path / "y.parquet")
    read_or_end(tmp_path / "y.parquet", tmp_path)

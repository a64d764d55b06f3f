# SPDX-License-Identifier: Apache-2.0
"""Annotation files are read piece by piece, and what is wrong with one is said with its name."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geodit.data.readers import files
from geodit.data.readers.fields import as_record, clean_text, id_field, numbers, text_field
from geodit.data.readers.files import (
    ImageFileError,
    decode_image,
    iter_json_array,
    iter_json_lines,
    read_image_size,
    read_json,
    read_lines,
)
from geodit.data.voc import read_voc

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)


class InPieces(io.StringIO):
    """A file that gives a few characters at a time, however many are asked for."""

    piece = 3

    def read(self, size: int | None = -1, /) -> str:
        return super().read(self.piece)


def elements(text: str, key: str | None = None) -> list:
    """The elements of an array, from a file that is read three characters at a time."""
    stream = files._JsonStream(InPieces(text))
    if key is not None:
        stream.enter_field(key)
    return list(stream.elements())


class TestJsonArrays:
    @given(st.lists(JSON, max_size=4), st.sampled_from([None, 1]), st.booleans())
    def test_elements_are_those_of_the_whole_document(self, values, indent, ascii_only):
        assert elements(json.dumps(values, indent=indent, ensure_ascii=ascii_only)) == values

    @given(st.lists(JSON, max_size=3), JSON, JSON)
    def test_an_array_in_an_object_is_found_by_its_name(self, values, before, behind):
        document = {"info": before, "images": values, "dataset": behind}
        assert elements(json.dumps(document), "images") == values

    @given(st.lists(JSON, min_size=1, max_size=3), st.data())
    def test_what_is_cut_off_is_damaged(self, values, data):
        text = json.dumps(values)
        cut = data.draw(st.integers(0, len(text) - 1))
        with pytest.raises(json.JSONDecodeError):
            elements(text[:cut])

    @given(st.text(alphabet='[]{}",:01.e- tru'))
    def test_any_text_is_an_array_or_refused(self, text):
        try:
            found = elements(text)
        except json.JSONDecodeError:
            return
        assert json.loads(text[: text.rindex("]") + 1] if text.count("]") == 1 else json.dumps(found)) == found

    @pytest.mark.parametrize(
        ("text", "key", "message"),
        [
            ("[1, 2", None, "expected ',' or ']', found the end of the file"),
            ("[1 2]", None, "expected ',' or ']', found '2'"),
            ("", None, "expected '[', found the end of the file"),
            ('{"images": [1]}', None, "expected '[', found '{'"),
            ('{"info": 1}', "images", "there is no 'images' in it"),
            ('{"images": {}}', "images", "expected '[', found '{'"),
            ("[]", "images", "expected '{', found '['"),
        ],
    )
    def test_a_file_of_another_form_is_named(self, tmp_path, text, key, message):
        path = tmp_path / "a.json"
        path.write_text(text)
        with pytest.raises(ValueError, match=r"a\.json is damaged or not the expected file: ") as caught:
            list(iter_json_array(path, key))
        assert message in str(caught.value)

    def test_elements_before_the_fault_have_been_read(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text("[1, 2, oops]")
        values = iter_json_array(path)
        assert [next(values), next(values)] == [1, 2]
        with pytest.raises(ValueError, match="is damaged"):
            next(values)

    def test_a_byte_order_mark_is_passed_over(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_text("[1]", encoding="utf-8-sig")
        assert list(iter_json_array(path)) == [1]

    def test_a_file_that_is_no_text_is_named(self, tmp_path):
        path = tmp_path / "a.json"
        path.write_bytes(b"[\xff\xfe]")
        for read in (iter_json_array, iter_json_lines, read_json, read_lines):
            with pytest.raises(ValueError, match=r"a\.json is "):
                list(read(path))


def test_a_bad_line_of_json_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\n{"a": \n')
    lines = iter_json_lines(path)
    assert next(lines) == {"a": 1}
    with pytest.raises(ValueError, match=r"a\.jsonl, line 3 is not JSON"):
        next(lines)


class TestImages:
    def test_the_size_is_known_without_decoding(self, tmp_path):
        path = tmp_path / "a.jpg"
        Image.effect_noise((60, 40), 50).convert("RGB").save(path)
        path.write_bytes(path.read_bytes()[:-300])
        assert read_image_size(path) == (40, 60)
        with pytest.raises(ImageFileError, match=r"a\.jpg cannot be read as an image"):
            decode_image(path)

    def test_images_are_decoded_to_rgb(self, tmp_path):
        path = tmp_path / "a.png"
        Image.new("L", (60, 40), 7).save(path)
        assert decode_image(path).getpixel((59, 39)) == (7, 7, 7)

    @pytest.mark.parametrize("read", [read_image_size, decode_image])
    def test_what_is_no_image_is_named(self, tmp_path, read):
        with pytest.raises(ImageFileError, match=r"the image .*a\.png is missing"):
            read(tmp_path / "a.png")
        (tmp_path / "a.png").write_bytes(b"text")
        with pytest.raises(ImageFileError, match=r"a\.png cannot be read as an image"):
            read(tmp_path / "a.png")


class TestFields:
    @pytest.mark.parametrize(
        ("read", "message"),
        [
            (lambda: as_record([1]), "named fields, not list"),
            (lambda: text_field({"a": 1}, "b"), "it has no 'b', only 'a'"),
            (lambda: text_field({}, "b"), "only nothing"),
            (lambda: text_field({"b": None}, "b"), "'b' should be a text, not None"),
            (lambda: id_field({"b": True}, "b"), "'b' should be a whole number, not True"),
            (lambda: numbers([1, "x"], 2), "2 numbers are expected"),
            (lambda: numbers(None, 4, 8), "4 or 8 numbers are expected, not None"),
            (lambda: numbers([1, float("inf")], 2), "2 numbers are expected"),
        ],
    )
    def test_what_is_wrong_with_a_field_is_said(self, read, message):
        with pytest.raises(ValueError, match=message):
            read()

    @given(st.text())
    def test_white_space_is_normal(self, text):
        try:
            cleaned = clean_text(text, "it")
        except ValueError:
            assert not text.split()
        else:
            assert cleaned.split() == text.split()
            assert cleaned == " ".join(cleaned.split())


class TestVoc:
    TEXT = (
        "<annotation><filename>a.jpg</filename><size><width>60</width><height>40</height></size><object>"
        "<name>ship</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30.5</xmax><ymax>40</ymax></bndbox>"
        "<description> a  long\n ship</description></object></annotation>"
    )

    def write(self, folder: Path, text: str) -> Path:
        path = folder / "a.xml"
        path.write_text(text)
        return path

    def test_an_annotation_has_its_size_and_objects(self, tmp_path):
        annotation = read_voc(self.write(tmp_path, self.TEXT))
        assert (annotation.filename, annotation.image_size) == ("a.jpg", (40, 60))
        (ship,) = annotation.objects
        assert (ship.name, ship.box, ship.description) == ("ship", (1, 2, 30.5, 40), "a long ship")

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("</annotation>", "", "no element found"),
            ("<xmin>1</xmin>", "", "<object> has no <bndbox/xmin>"),
            ("<xmin>1", "<xmin>one", "could not convert"),
            ("<xmin>1", "<xmin>nan", "<bndbox/xmin> is 'nan'"),
            ("<annotation>", "<!DOCTYPE a><annotation>", "has a DOCTYPE"),
        ],
    )
    def test_what_is_no_annotation_is_named(self, tmp_path, old, new, message):
        path = self.write(tmp_path, self.TEXT.replace(old, new))
        with pytest.raises(ValueError, match=rf"a\.xml is not a Pascal VOC annotation: .*{message}"):
            read_voc(path)

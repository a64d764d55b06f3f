# SPDX-License-Identifier: Apache-2.0
"""Annotation files are read piece by piece, and what is wrong with one is said with its name."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geodit.data.readers import files
from geodit.data.readers.fields import DamagedRecord, as_record, clean_text, id_field, numbers, text_field
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


NAN = float("nan")


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
        for read in (iter_json_array, read_json, read_lines):
            with pytest.raises(ValueError, match=r"a\.json is "):
                list(read(path))


class TestLongAndDeepValues:
    @given(st.lists(JSON | st.sampled_from([NAN, "\ud83d", "\ud83d\ude00", 1e-300, -0.5]), max_size=4), st.data())
    def test_a_value_may_be_cut_anywhere(self, values, data):
        text = json.dumps(values, ensure_ascii=data.draw(st.booleans()), indent=data.draw(st.sampled_from([None, 12])))
        stream = files._JsonStream(io.StringIO(text), chunk=data.draw(st.integers(1, 12)))
        assert repr(list(stream.elements())) == repr(json.loads(text))

    def test_time_grows_with_the_length_of_a_value_and_not_with_its_square(self, monkeypatch):
        decoded = []

        class CountingDecoder(json.JSONDecoder):
            def raw_decode(self, text: str, position: int = 0) -> tuple[Any, int]:
                decoded.append(len(text) - position)
                return super().raw_decode(text, position)

        monkeypatch.setattr(files.json, "JSONDecoder", CountingDecoder)
        text = "x" * 100_000
        assert list(files._JsonStream(io.StringIO(json.dumps([text])), chunk=10).elements()) == [text]
        assert sum(decoded) < 5 * len(text)

    @pytest.mark.parametrize("text", ['["xxxxxxxxxxx', '[{"a": 1, "b": 2}]', "[1111111111111]", '["a", [1, 2, 3, 4]]'])
    def test_a_value_that_is_too_long_is_a_fault(self, text):
        with pytest.raises(json.JSONDecodeError, match="a value in it is longer than 10 characters"):
            list(files._JsonStream(io.StringIO(text), chunk=2, limit=10).elements())

    def test_an_array_may_be_longer_than_any_value_in_it(self):
        assert list(files._JsonStream(io.StringIO(json.dumps(["x" * 7] * 9)), 2, 10).elements()) == ["x" * 7] * 9

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("[" * 100_000, "nested too deeply"),
            ('[{"a": ' + '{"a": ' * 100_000, "nested too deeply"),
            (f"[{'1' * 5000}]", "Exceeds the limit"),
            ('["never ends', "Unterminated string"),
        ],
    )
    def test_what_python_does_not_read_is_one_error_that_names_the_file(self, tmp_path, text, reason):
        path = tmp_path / "a.json"
        path.write_text(text)
        for read in (iter_json_array, read_json):
            with pytest.raises(ValueError, match=rf"a\.json is .*{reason}"):
                list(read(path))


class TestJsonLines:
    LINES = {
        b'{"a": ': "line 2 is not JSON: Expecting value",
        b"[" * 100_000: "line 2 is not JSON that can be read: it is nested too deeply",
        b"1" * 5000: "line 2 is not JSON: Exceeds the limit",
        b'"\xff"': "line 2 is not UTF-8 text: invalid start byte at byte 1",
        b'"' + b"x" * 300_000: "line 2 is longer than 200,000 bytes",
    }

    @pytest.mark.parametrize("line", LINES)
    def test_a_bad_line_stands_as_a_damaged_record_among_good_ones(self, tmp_path, monkeypatch, line):
        monkeypatch.setattr(files, "MAX_VALUE_LENGTH", 200_000)
        path = tmp_path / "a.jsonl"
        path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n' + line + b"\n\n[2]")
        first, damaged, last = iter_json_lines(path)
        assert (first, last) == ({"a": 1}, [2])
        with pytest.raises(ValueError, match=self.LINES[line]):
            as_record(damaged)


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
            (lambda: numbers([1, 10**400], 2), "2 numbers are expected"),
            (lambda: numbers([1, True], 2), "2 numbers are expected"),
            (lambda: numbers("12", 2), "2 numbers are expected, not '12'"),
            (lambda: numbers({1: 2, 3: 4}, 2), "2 numbers are expected"),
            (lambda: as_record(DamagedRecord("line 3 is not JSON")), "line 3 is not JSON"),
            (lambda: text_field({"b": ["x" * 1000] * 1000}, "b"), r"'b' should be a text, not \['x{90,100}\.\.\.x"),
            (lambda: clean_text("x" * 200_001, "it"), "it has 200,001 characters, which is more than 200,000"),
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

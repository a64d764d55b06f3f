# SPDX-License-Identifier: Apache-2.0
"""Small text files of others: each is read, or refused in one sentence, in bounded time."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.configuration.text_files import check_regular_file, parse_json, parse_yaml, read_json_object, read_text


def doubling_aliases(levels):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ValueError, match=r"config\.json is a named pipe"):
        read_json_object(tmp_path / "config.json")


def test_a_device_is_refused_also_behind_a_link(tmp_path):
    (tmp_path / "recipe.yaml").symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"recipe\.yaml is a device"):
        check_regular_file(tmp_path / "recipe.yaml")


def test_a_text_file_is_read_up_to_a_size(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"one\r\ntwo\n")
    assert read_text(path, max_bytes=9) == "one\ntwo\n"
    with pytest.raises(ValueError, match="larger than 8 bytes"):
        read_text(path, max_bytes=8)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff", "not UTF-8"), (b"[1]", "must hold a JSON object"), (b"{", "is not JSON"), (b"", "is not JSON")],
)
def test_what_is_no_json_object_is_named(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.json .*{message}|a\.json {message}"):
        read_json_object(tmp_path / "a.json")


def test_json_nested_without_end_is_an_error():
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 200_000, "deep.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n\tb: 2", "found character"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ("a: 1\na: 2", "a is given more than once"),
        ("&a [*a]", "a part of"),
        ("a: 2024-99-99", "month"),
        ("[" * 20_000, "nested too deeply"),
        (doubling_aliases(9), "more than 100,000 values"),
    ],
)
def test_yaml_that_is_not_one_plain_document_is_one_sentence(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        parse_yaml(text, "recipe.yaml")
    assert str(caught.value).startswith("recipe.yaml is not YAML")
    assert "\n" not in str(caught.value)


def test_yaml_keeps_its_anchors_aliases_and_merges():
    assert parse_yaml("base: &b {x: 1, y: 2}\nmore: {<<: *b, y: 3}\nsame: *b", "recipe.yaml") == {
        "base": {"x": 1, "y": 2},
        "more": {"x": 1, "y": 3},
        "same": {"x": 1, "y": 2},
    }


@given(st.text())
def test_whatever_the_text_yaml_gives_a_value_or_a_value_error(text):
    complaint = None
    try:
        parse_yaml(text, "recipe.yaml")
    except ValueError as error:
        complaint = str(error)
    assert complaint is None or complaint.startswith("recipe.yaml is not YAML")

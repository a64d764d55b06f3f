# SPDX-License-Identifier: Apache-2.0
import stat

import pytest

from geodit.cli.errors import CommandError
from geodit.cli.output import check_can_write, plain, print_json, to_json, write_atomically


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old and longer")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_a_file_can_be_read_by_those_who_can_read_other_new_files(tmp_path):
    write_atomically(tmp_path / "result.json", b"")
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("result.json", "plain")}
    assert len(modes) == 1


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_written_is_told_beforehand(tmp_path):
    with pytest.raises(CommandError, match="no directory"):
        check_can_write(tmp_path / "missing" / "result.json")
    with pytest.raises(CommandError, match="is a directory"):
        check_can_write(tmp_path)


def test_json_is_printed_as_it_is(capsys):
    document = {"text": "a [bold]harbor[/bold] :ship: " + "long " * 60, "image": "Hafen-Übersicht.png"}
    print_json(document)
    assert capsys.readouterr().out == to_json(document)


def test_json_has_no_nan():
    with pytest.raises(ValueError, match="JSON"):
        to_json({"loss": float("nan")})


def test_texts_of_models_and_files_are_shown_as_they_are():
    assert plain("[bold]two ships[/bold] \x1b[31mred\n").plain == "[bold]two ships[/bold] \ufffd[31mred\ufffd"

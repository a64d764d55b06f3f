# SPDX-License-Identifier: Apache-2.0
import pytest

from geodit.cli.errors import CommandError
from geodit.cli.output import check_can_write, plain, print_json, to_json


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

# SPDX-License-Identifier: Apache-2.0
"""Files that are written whole or not at all."""

import stat

import pytest

from geodit.configuration.files_geodit import write_atomically


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

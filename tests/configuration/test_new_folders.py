# SPDX-License-Identifier: Apache-2.0
"""A new folder takes nothing of anybody else with it."""

import os

import pytest

from geodit.configuration.new_folders import new_folder


def test_folders_of_others_beside_it_are_left_alone(tmp_path):
    theirs = [tmp_path / name for name in (".out.partial", ".out.geodit-notes", f".out.geodit-{'g' * 32}")]
    for folder in theirs:
        folder.mkdir()
        (folder / "mine").touch()
    with new_folder(tmp_path / "out") as folder:
        (folder / "made").touch()
    assert (tmp_path / "out" / "made").is_file()
    assert all((folder / "mine").is_file() for folder in theirs)
    assert len(list(tmp_path.iterdir())) == 4


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / f".out.geodit-{'0' * 32}"
    left.mkdir()
    (left / "half").touch()
    with new_folder(tmp_path / "out"):
        assert not left.exists()


def test_a_second_process_is_refused_and_the_work_of_the_first_stays(tmp_path):
    with new_folder(tmp_path / "out") as folder:
        (folder / "made").touch()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with new_folder(tmp_path / "out"):
                    pass
            except BlockingIOError as error:
                code = (
                    7
                    if f"another process writes to {tmp_path / 'out'} (process {os.getppid()} on" in str(error)
                    else 8
                )
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "made").is_file()


def test_a_folder_that_appeared_meanwhile_is_not_replaced(tmp_path):
    def make():
        with new_folder(tmp_path / "out"):
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "mine").touch()

    with pytest.raises(FileExistsError, match="name a new folder"):
        make()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "out"]

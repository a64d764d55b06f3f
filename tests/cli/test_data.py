# SPDX-License-Identifier: Apache-2.0

from geodit.data import neon


def test_fetched_images_go_where_they_are_asked_to(geodit, monkeypatch, tmp_path):
    monkeypatch.setattr(neon, "fetch_neon", lambda directory: directory)
    result = geodit("data", "fetch", "neon", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"neon is in {tmp_path}\n"


def test_a_file_in_place_of_the_directory_is_bad_input(geodit, tmp_path):
    path = tmp_path / "file"
    path.touch()
    assert "give a directory" in geodit.fails("data", "fetch", "neon", path)


def test_a_failed_download_is_a_failure_and_no_bad_input(geodit, monkeypatch, tmp_path):
    def fail(directory: object) -> None:
        raise RuntimeError("pip could not download deepforest")

    monkeypatch.setattr(neon, "fetch_neon", fail)
    result = geodit("data", "fetch", "neon", tmp_path)
    assert (result.exit_code, result.stderr) == (1, "geodit: error: pip could not download deepforest\n")

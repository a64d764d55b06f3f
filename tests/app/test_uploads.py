# SPDX-License-Identifier: Apache-2.0
"""The temporary folder holds what is of use, and nothing else."""

import os
import shutil

import pytest

from geodit.app.uploads import Uploads


@pytest.fixture
def uploads():
    uploads = Uploads(max_pixels=100_000, max_total_bytes=60_000, keep_seconds=600)
    yield uploads
    uploads.close()


def upload(uploads, source, folder="a1b2"):
    (uploads.folder / folder).mkdir(exist_ok=True)
    return shutil.copy(source, uploads.folder / folder / source.name)


def files_in(uploads):
    return [path for path in uploads.folder.rglob("*") if path.is_file()]


def test_a_file_that_was_uploaded_may_be_used(uploads, harbor):
    assert uploads.use(upload(uploads, harbor)).name == "harbor.tif"


@pytest.mark.parametrize("name", ["/etc/passwd", "../etc/passwd", "scenes.json"])
def test_no_other_file_may_be_used(uploads, harbor, name):
    with pytest.raises(ValueError, match="was not uploaded here"):
        uploads.use(harbor.parent / name)


def test_a_link_out_of_the_folder_is_not_followed(uploads, harbor):
    (uploads.folder / "a1b2").mkdir()
    (uploads.folder / "a1b2" / "link.tif").symlink_to(harbor)
    with pytest.raises(ValueError, match="was not uploaded here"):
        uploads.use(uploads.folder / "a1b2" / "link.tif")


def test_what_a_page_has_used_goes_when_it_is_closed(uploads, harbor):
    path = upload(uploads, harbor)
    for session in ("one", "two"):
        uploads.open_page(session)
        uploads.use(path, session)
    uploads.close_page("one")
    assert len(files_in(uploads)) == 1  # the other page uses it, too
    uploads.close_page("two")
    assert list(uploads.folder.iterdir()) == [uploads.examples]


def test_what_two_pages_have_stays_until_both_are_closed(uploads, harbor):
    path = upload(uploads, harbor)  # equal files have one path
    for session in ("one", "two"):
        uploads.open_page(session)
        uploads.keep(path, session)  # nothing was asked about it
    uploads.close_page("one")
    assert path.exists()
    uploads.close_page("two")
    assert not path.exists()


def test_an_upload_that_has_just_come_may_be_of_another_page(uploads, harbor):
    path = upload(uploads, harbor)
    uploads.open_page("one")
    uploads.keep(path, "one")
    assert uploads.begin(10)
    uploads.end(10)
    uploads.close_page("one")
    assert path.exists()


def test_a_page_keeps_no_other_file(uploads, harbor):
    uploads.open_page("one")
    uploads.keep(harbor, "one")
    uploads.close_page("one")
    assert harbor.exists()


def test_what_no_page_uses_goes_some_time_after_its_last_use(uploads, harbor):
    old, new, used = (upload(uploads, harbor, folder) for folder in ("1", "2", "3"))
    uploads.open_page("one")
    uploads.use(used, "one")
    for path in (old, used):
        os.utime(path, (1, 1))
    os.utime(uploads.folder / "1", (1, 1))
    uploads.sweep()
    assert {str(path) for path in files_in(uploads)} == {str(new), str(used)}


def test_a_file_that_has_gone_is_told_in_one_line(uploads):
    with pytest.raises(FileNotFoundError, match=r"^harbor.tif is not here any more: upload it again$"):
        uploads.use(uploads.folder / "a1b2" / "harbor.tif")


def test_there_is_room_up_to_a_total(uploads, harbor):
    size = harbor.stat().st_size
    assert 2 * size < 60_000 < 3 * size
    upload(uploads, harbor)
    assert uploads.begin(size)
    assert not uploads.begin(size)  # the one that is coming has its room
    uploads.end(size)
    assert uploads.begin(size)


def test_an_upload_that_was_cut_off_leaves_nothing(uploads, harbor):
    whole = upload(uploads, harbor)
    assert uploads.begin(10)
    assert uploads.begin(20)
    (uploads.folder / "tmpx").write_bytes(bytes(5))
    uploads.end(10)
    assert (uploads.folder / "tmpx").exists()  # it may be of the other
    uploads.end(20)
    assert files_in(uploads) == [whole]


def test_examples_stay_and_take_no_room(uploads, harbor):
    example = uploads.add_example(harbor)
    uploads.open_page("one")
    uploads.use(example, "one")
    os.utime(example, (1, 1))
    uploads.close_page("one")
    uploads.sweep()
    assert example.exists()
    assert uploads.num_bytes == 0


def test_the_folder_is_removed_at_the_end(uploads, harbor):
    upload(uploads, harbor)
    uploads.close()
    assert not uploads.folder.exists()

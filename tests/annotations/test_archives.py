# SPDX-License-Identifier: Apache-2.0
"""ZIP files are unpacked into their folder and nowhere else, and grow no more than labels and images do."""

import stat
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geodit.annotations import archives
from geodit.annotations.archives import unpack_zip


def pack(path, contents, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_content_is_found_below_a_folder_of_its_own(tmp_path):
    contents = {"export/": b"", "export/a.xml": b"<a/>", "export/images/b.png": b"1", "__MACOSX/export/._a.xml": b"2"}
    found = unpack_zip(pack(tmp_path / "x.zip", contents), tmp_path / "out")
    assert found == tmp_path / "out/export"
    assert files_in(found) == {"a.xml": b"<a/>", "images/b.png": b"1"}


@pytest.mark.parametrize("name", ["../a.txt", "/tmp/a.txt", "b/../../a.txt", "C:/a.txt", "..\\a.txt"])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("good.txt", b"1")
        bad = zipfile.ZipInfo("bad.txt")
        bad.filename = name  # which its constructor would make harmless
        archive.writestr(bad, b"2")
    with pytest.raises(ValueError, match="leads out of its folder"):
        unpack_zip(tmp_path / "x.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_links_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("a.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/hostname")
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        unpack_zip(tmp_path / "x.zip", tmp_path / "out")


def test_what_grows_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_ALWAYS_ALLOWED", 0)
    path = pack(tmp_path / "x.zip", {f"{number}.txt": b"0" * 2**21 for number in range(4)})
    with pytest.raises(ValueError, match="grows more than labels and images do"):
        unpack_zip(path, tmp_path / "out")
    assert sum(map(len, files_in(tmp_path / "out").values())) <= 100 * path.stat().st_size


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_MAX_FILES", 3)
    with pytest.raises(ValueError, match="holds 4 files, more than 3"):
        unpack_zip(pack(tmp_path / "x.zip", dict.fromkeys("abcd", b"")), tmp_path / "out")


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.txt", "1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.txt", "2")
    with pytest.raises(ValueError, match="twice"):
        unpack_zip(tmp_path / "x.zip", tmp_path / "out")
    with pytest.raises(ValueError, match="as a file and as a folder"):
        unpack_zip(pack(tmp_path / "y.zip", {"a": b"1", "a/b": b"2"}), tmp_path / "out2")


def test_encrypted_files_are_not_asked_for_a_password(tmp_path):
    path = pack(tmp_path / "x.zip", {"a.txt": b"1"})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is encrypted"):
        unpack_zip(path, tmp_path / "out")


def test_a_directory_that_is_not_where_it_says_is_told(tmp_path):
    path = pack(tmp_path / "x.zip", {"a.txt": b"1", "b.txt": b"2"})
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x05\x06") + 16  # where the directory begins
    content[place] += 9
    path.write_bytes(content)
    with pytest.raises(ValueError, match="its directory is not where it says"):
        unpack_zip(path, tmp_path / "out")


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_file_that_was_damaged_ends_in_one_line(tmp_path, data):
    path = pack(tmp_path / "x.zip", {"a.txt": b"12345" * 20, "images/b.png": bytes(range(100))})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content)))) :]
    (tmp_path / "y.zip").write_bytes(content)
    folder = tmp_path / "out" / str(len(list((tmp_path / "out").glob("*"))))
    error = ""
    try:
        unpack_zip(tmp_path / "y.zip", folder)
    except ValueError as caught:
        error = str(caught)
    assert "\n" not in error
    assert {path.name for path in tmp_path.iterdir()} <= {"x.zip", "y.zip", "out"}

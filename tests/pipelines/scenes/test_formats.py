# SPDX-License-Identifier: Apache-2.0
"""The suffix of a file decides what is written, and a file is whole or not there."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pyogrio
import pytest

from full_disk import full_disk
from geodit.pipelines.scenes.formats import FORMATS, find_format, write_layers
from geodit.pipelines.scenes.layers import Layer
from rfc7946 import check_feature_collection

LOCAL = 'LOCAL_CS["local",UNIT["metre",1]]'


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(params=FORMATS)
def suffix(request):
    return request.param


class TestFindFormat:
    @pytest.mark.parametrize(
        ("name", "format_name"), [("a.gpkg", "GeoPackage"), ("A.GeoJSON", "GeoJSON"), ("a.b.SHP", "Shapefile")]
    )
    def test_suffix_decides(self, name, format_name):
        assert find_format(Path(name)).name == format_name

    @pytest.mark.parametrize(
        ("name", "what"),
        [("ships.kml", "has the unknown suffix .kml"), ("ships", "has no suffix"), (".gpkg", "has no suffix")],
    )
    def test_others_are_refused_with_all_that_are_not(self, name, what):
        message = f"{name} {what}: give .geojson, .gpkg, .parquet, .fgb, .shp, .csv or .json"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            find_format(Path(name), [".json"])

    def test_only_one_format_holds_tiles_and_only_one_is_in_degrees(self):
        assert [form.suffix for form in FORMATS.values() if form.holds_all_layers] == [".gpkg"]
        assert [form.suffix for form in FORMATS.values() if form.in_wgs84] == [".geojson"]


class TestChecksBeforeWork:
    def test_installed_packages_are_enough(self, suffix):
        FORMATS[suffix].check_available()

    @pytest.mark.parametrize(
        ("suffix", "package"),
        [(".gpkg", "geopandas"), (".shp", "pyogrio"), (".parquet", "pyarrow"), (".geojson", "shapely")],
    )
    def test_missing_packages_are_named_with_the_extra(self, monkeypatch, tmp_path, ships, suffix, package):
        find_spec = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
        message = f"writing {suffix} needs the package {package}: pip install 'geodit[geo]'"
        with pytest.raises(ModuleNotFoundError, match=re.escape(message)) as caught:
            write_layers(tmp_path / f"ships{suffix}", [ships])
        assert caught.value.name == package

    def test_csv_needs_no_package(self, monkeypatch, tmp_path, ships):
        for package in ("geopandas", "pandas", "pyogrio", "pyproj", "shapely"):
            monkeypatch.setitem(sys.modules, package, None)
        write_layers(tmp_path / "ships.csv", [ships])
        assert (tmp_path / "ships.csv").read_text().startswith("WKT,label,")

    def test_local_reference_systems_have_formats_of_their_own(self, tmp_path, make_layer):
        layer = make_layer(LOCAL, [(0, 0, 1, 1)], {"score": [0.5]})
        with pytest.raises(ValueError, match="has no longitude and latitude"):
            write_layers(tmp_path / "ships.geojson", [layer])
        with pytest.raises(ValueError, match="has no longitude and latitude"):
            FORMATS[".geojson"].check_crs(LOCAL)
        assert list(tmp_path.iterdir()) == []
        for form in FORMATS.values():
            if not form.in_wgs84:
                form.check_crs(LOCAL)
                write_layers(tmp_path / f"ships{form.suffix}", [layer])
        assert pyogrio.read_info(tmp_path / "ships.gpkg")["features"] == 1

    def test_reference_systems_that_cannot_be_read_are_refused(self, tmp_path, make_layer):
        with pytest.raises(ValueError, match="nonsense cannot be read"):
            write_layers(tmp_path / "ships.gpkg", [make_layer("nonsense", [])])
        assert list(tmp_path.iterdir()) == []

    def test_layers_that_do_not_fit_are_refused(self, tmp_path, ships):
        with pytest.raises(ValueError, match="there are no layers to write"):
            write_layers(tmp_path / "ships.gpkg", [])
        with pytest.raises(ValueError, match=r"two layers to write to .* have the same name"):
            write_layers(tmp_path / "ships.gpkg", [ships, ships])


class TestWriteLayers:
    def test_file_has_the_first_layer_at_least(self, tmp_path, ships, tiles, suffix):
        path = tmp_path / f"ships{suffix}"
        assert write_layers(path, [ships, tiles]) == 0
        if suffix == ".geojson":
            assert len(check_feature_collection(path.read_bytes())) == 3
            assert pyogrio.read_info(path)["crs"] == "EPSG:4326"
        if suffix == ".parquet":
            return  # GDAL in pyogrio's wheel does not read it; test_vector_files.py does
        frame = pyogrio.read_dataframe(path, layer=0)
        assert frame.geometry.geom_type.tolist() == ["Polygon"] * 3
        assert sorted(frame["score"].astype(float)) == [0.25, 0.5, 1.0]
        if suffix == ".gpkg":
            assert pyogrio.list_layers(path)[:, 0].tolist() == ["objects", "tiles"]

    def test_suffixes_may_be_in_capitals(self, tmp_path, ships, suffix):
        write_layers(tmp_path / f"ships{suffix}", [ships])
        (tmp_path / "capitals").mkdir()
        write_layers(tmp_path / "capitals" / f"ships{suffix.upper()}", [ships])
        written = contents(tmp_path / "capitals")
        assert written.pop(f"ships{suffix.upper()}") == (tmp_path / f"ships{suffix}").read_bytes()
        assert {f"ships{suffix}", *written} == {path.name for path in tmp_path.glob("ships.*")}

    def test_polygons_without_longitude_are_counted(self, tmp_path, make_layer):
        layer = make_layer("EPSG:4326", [(0, 91, 1, 92), (0, 0, 1, 1)])
        assert write_layers(tmp_path / "ships.geojson", [layer]) == 1
        assert write_layers(tmp_path / "ships.gpkg", [layer]) == 0

    def test_same_layers_give_the_same_bytes(self, tmp_path, ships, tiles, suffix):
        written = []
        for _ in range(2):
            write_layers(tmp_path / f"ships{suffix}", [ships, tiles])
            written.append(contents(tmp_path))
        assert written[0] == written[1]

    def test_existing_file_is_replaced_and_others_stay(self, tmp_path, ships, tiles, suffix):
        path = tmp_path / f"ships{suffix}"
        write_layers(path, [tiles])
        old = contents(tmp_path)
        (tmp_path / "ships.txt").write_text("mine")
        write_layers(path, [ships])
        new = contents(tmp_path)
        assert new.pop("ships.txt") == b"mine"
        assert set(new) == set(old)
        assert new[path.name] != old[path.name]

    def test_layers_without_polygons_are_files(self, tmp_path, ships, suffix):
        path = tmp_path / f"ships{suffix}"
        assert write_layers(path, [ships.take([])]) == 0
        if suffix not in (".parquet", ".csv"):
            assert pyogrio.read_info(path, force_feature_count=True)["features"] == 0

    def test_links_stay_links(self, tmp_path, ships, suffix):
        (tmp_path / "real").mkdir()
        target, link = tmp_path / "real" / f"target{suffix}", tmp_path / f"link{suffix}"
        link.symlink_to(target)
        write_layers(link, [ships])
        assert link.is_symlink()
        assert target.stat().st_size > 0
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["real", link.name])

    def test_what_belonged_to_the_old_file_goes_with_it(self, tmp_path, ships, make_layer):
        write_layers(tmp_path / "ships.shp", [ships])
        for name in ("ships.qix", "ships.shp.xml", "ships.tif.xml", "ships2.prj"):
            (tmp_path / name).write_text("of the old file")
        write_layers(tmp_path / "ships.shp", [make_layer(None, [(0, 0, 1, 1)])])
        names = ["ships.cpg", "ships.dbf", "ships.shp", "ships.shx", "ships.tif.xml", "ships2.prj"]
        assert sorted(path.name for path in tmp_path.iterdir()) == names
        write_layers(tmp_path / "ships.gpkg", [ships])
        (tmp_path / "ships.gpkg-wal").write_text("of the old file")
        write_layers(tmp_path / "ships.gpkg", [ships])
        assert not (tmp_path / "ships.gpkg-wal").exists()

    def test_files_beside_a_new_file_stay(self, tmp_path, make_layer):
        (tmp_path / "scene.prj").write_text("of a raster with a world file")
        write_layers(tmp_path / "scene.shp", [make_layer(None, [(0, 0, 1, 1)])])
        assert (tmp_path / "scene.prj").read_text() == "of a raster with a world file"


class TestFailures:
    def test_a_missing_directory_is_named(self, tmp_path, ships, suffix):
        path = tmp_path / "missing" / f"ships{suffix}"
        with pytest.raises(OSError, match=f"^cannot write {re.escape(str(path))}: No such file or directory$"):
            write_layers(path, [ships])

    def test_a_directory_in_its_place_is_left_alone(self, tmp_path, ships, suffix):
        path = tmp_path / f"ships{suffix}"
        path.mkdir()
        with pytest.raises(OSError, match=f"^cannot write {re.escape(str(path))}: Is a directory$"):
            write_layers(path, [ships])
        assert list(tmp_path.rglob("*")) == [path]

    def test_a_full_disk_leaves_what_was_there(self, tmp_path, suffix):
        """Wherever the disk is full: GDAL does not always say so, such as when it closes a file."""
        path = tmp_path / f"ships{suffix}"
        generator = np.random.default_rng(0)
        corners = generator.uniform([3e5, 3e6], [6e5, 4e6], (200, 1, 2))
        rings = tuple(corners + np.array([[0, 10], [0, 0], [10, 0], [10, 10]]))
        layer = Layer("objects", "EPSG:32631", rings, {"label": ["ship"] * 200, "score": [0.5] * 200})
        write_layers(path, [layer])
        before = contents(tmp_path)
        size = max(len(content) for content in before.values())
        for num_bytes in {1, 1000, *np.linspace(size / 2, size - 1, 8).astype(int).tolist()}:
            with full_disk(num_bytes), pytest.raises(OSError, match=f"^cannot write {re.escape(str(path))}: ."):
                write_layers(path, [layer])
            assert contents(tmp_path) == before

    def test_an_interrupted_run_leaves_what_was_there(self, tmp_path, ships, tiles, suffix, monkeypatch):
        path = tmp_path / f"ships{suffix}"
        write_layers(path, [tiles])
        before = contents(tmp_path)

        def interrupt(*arguments: object) -> None:
            raise KeyboardInterrupt

        # When all is written and nothing has been moved yet.
        monkeypatch.setattr("geodit.pipelines.scenes.formats._move", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_layers(path, [ships])
        assert contents(tmp_path) == before

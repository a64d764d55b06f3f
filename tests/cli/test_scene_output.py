# SPDX-License-Identifier: Apache-2.0
"""What is checked of the file of answers before any work."""

from pathlib import Path

import pytest

from geodit.cli.errors import CommandError
from geodit.cli.scene_output import check_keeps_images, check_out, check_places, holds_layers
from geodit.pipelines.answering import Inquiry
from geodit.pipelines.scenes.job import SceneJob
from geodit.pipelines.scenes.plan import ImageFacts, JobPlan
from geodit.rasters.georeference import GeoReference

SUFFIXES = [".geojson", ".gpkg", ".parquet", ".fgb", ".shp", ".csv"]
UTM = GeoReference("EPSG:32631", (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
YARD = GeoReference('LOCAL_CS["a yard",UNIT["metre",1]]', UTM.transform)


def plan_of(*places):
    """The plan of a job of images in these places."""
    images = tuple(f"{letter}.tif" for letter in "abc"[: len(places)])
    job = SceneJob(images, Inquiry("detect", ("ship",)))
    return JobPlan(job, (), {number: ImageFacts((8, 8), place) for number, place in enumerate(places)})


class TestFile:
    @pytest.mark.parametrize("suffix", [*SUFFIXES, ".json", ".GeoJSON", ".GPKG"])
    def test_may_have_a_known_suffix(self, tmp_path, suffix):
        check_out(tmp_path / f"ships{suffix}", None)

    @pytest.mark.parametrize("name", ["ships.txt", "ships.tif", "ships", ".gpkg"])
    def test_with_another_suffix_is_refused(self, tmp_path, name):
        with pytest.raises(ValueError, match=r"suffix.*: give \.geojson, \.gpkg, .* or \.json"):
            check_out(tmp_path / name, None)

    @pytest.mark.parametrize("suffix", [".json", ".gpkg"])
    def test_has_to_be_one_that_can_be_written(self, tmp_path, suffix):
        with pytest.raises(CommandError, match="no directory"):
            check_out(tmp_path / "missing" / f"ships{suffix}", None)
        (tmp_path / f"folder{suffix}").mkdir()
        with pytest.raises(CommandError, match="cannot write"):
            check_out(tmp_path / f"folder{suffix}", None)

    def test_may_be_none(self):
        check_out(None, None)
        assert not holds_layers(None)

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_holds_layers_but_for_json(self, suffix):
        assert holds_layers(Path(f"ships{suffix}"))
        assert not holds_layers(Path("ships.JSON"))

    def test_of_json_may_be_coco(self, tmp_path):
        check_out(tmp_path / "ships.json", "coco")
        check_out(tmp_path / "ships.json", "geodit")

    @pytest.mark.parametrize(("name", "message"), [(None, "give --out"), ("ships.gpkg", "--format is for .json")])
    def test_of_another_kind_has_one_format(self, tmp_path, name, message):
        with pytest.raises(CommandError, match=message):
            check_out(None if name is None else tmp_path / name, "coco")

    def test_is_none_of_the_images(self, tmp_path):
        image = tmp_path / "scene.gpkg"
        image.write_bytes(b"")
        linked = tmp_path / "linked.gpkg"
        linked.symlink_to(image)
        for out in (image, linked, tmp_path / "." / "scene.gpkg"):
            with pytest.raises(CommandError, match="--out would overwrite the image"):
                check_keeps_images(out, ["https://example.org/a.tif", str(image)])
        check_keeps_images(tmp_path / "ships.gpkg", [str(image)])
        check_keeps_images(None, [str(image)])


class TestPlaces:
    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_on_earth_fit_every_format(self, suffix):
        check_places(Path(f"ships{suffix}"), plan_of(UTM, GeoReference("EPSG:4326", UTM.transform)))

    @pytest.mark.parametrize("suffix", [suffix for suffix in SUFFIXES if suffix != ".csv"])
    def test_that_are_not_known_fit_no_layer(self, suffix):
        with pytest.raises(CommandError, match=r"b\.tif has no place on Earth .*--crs"):
            check_places(Path(f"ships{suffix}"), plan_of(UTM, None))

    def test_that_are_not_known_fit_a_table(self):
        check_places(Path("ships.csv"), plan_of(None, None))

    def test_that_are_known_of_some_images_fit_no_table(self):
        with pytest.raises(CommandError, match=r"b\.tif has none"):
            check_places(Path("ships.csv"), plan_of(UTM, None))

    def test_in_a_yard_have_no_longitude(self):
        with pytest.raises(CommandError, match=r"b\.tif: .*no longitude and latitude"):
            check_places(Path("ships.geojson"), plan_of(UTM, YARD))

    def test_in_a_yard_and_elsewhere_have_no_common_layer(self):
        with pytest.raises(CommandError, match=r"b\.tif: .*no longitude and latitude"):
            check_places(Path("ships.gpkg"), plan_of(UTM, YARD))

    def test_in_a_yard_fit_a_layer_of_their_own(self):
        check_places(Path("ships.gpkg"), plan_of(YARD))

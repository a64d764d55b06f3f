# SPDX-License-Identifier: Apache-2.0
"""`geodit predict` about scenes: from rasters to files that a GIS opens, and what is said of what is missing."""

import json

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from example_rasters import CRS, PLACE, harbor, write_raster

TILES = ("--tile-size", 96, "--overlap", 0)
FAST = ("--max-denoising-steps", 2)
SHIPS = 8


@pytest.fixture
def scene(tmp_path):
    """Four harbors with two ships each."""
    return write_raster(tmp_path / "scene.tif", harbor())


@pytest.fixture
def detect(predict):
    """Detect ships by geodit-tiny in four tiles."""

    def run(*arguments, exit_code=0):
        return predict(*arguments, *TILES, *FAST, exit_code=exit_code)

    return run


def layer(path, name=None):
    return geopandas.read_file(path) if name is None else geopandas.read_file(path, layer=name)


class TestFiles:
    def test_of_every_suffix_hold_the_ships(self, predict, scene, tmp_path):
        frames = {}
        for suffix in (".gpkg", ".geojson", ".fgb", ".shp", ".parquet"):
            out = tmp_path / f"ships{suffix}"
            result = predict(scene, "--tile-size", 192, "--max-denoising-steps", 1, "--out", out)
            assert f"wrote {out}" in result.stdout
            frames[suffix] = geopandas.read_parquet(out) if suffix == ".parquet" else layer(out)
            assert frames[suffix].crs.to_epsg() == (4326 if suffix == ".geojson" else 32631)
        first = frames.pop(".gpkg")
        assert len(first) > 0
        for frame in frames.values():
            assert list(frame["label"]) == list(first["label"])
            # FlatGeobuf has an order of its own.
            bounds, expected = (np.sort(one.to_crs(CRS).bounds.to_numpy(), axis=0) for one in (frame, first))
            assert np.allclose(bounds, expected, atol=1e-3)

    def test_of_geopackage_hold_the_tiles_as_well(self, detect, scene, tmp_path):
        out = tmp_path / "ships.gpkg"
        detect(scene, "--out", out)
        assert [name for name, _ in pyogrio.list_layers(out)] == ["objects", "tiles"]
        ships, tiles = layer(out, "objects"), layer(out, "tiles")
        assert len(ships) == SHIPS
        assert set(ships["model"]) == {"geodit-tiny"}
        assert set(ships["source"]) == {str(scene)}
        assert set(ships["label"]) == set(ships["query"]) == {"ship"}
        assert ships["score"].between(0, 1).all()
        assert ships["parsed"].all()
        # Each ship lies in the tile that has found it.
        shown = tiles.set_index("tile").geometry.loc[ships["tile"]].reset_index(drop=True)
        assert shown.contains(ships.geometry).all()
        assert list(tiles["boxes"]) == [2, 2, 2, 2]
        left, top = PLACE.c, PLACE.f
        assert tiles.total_bounds.tolist() == [left, top - 96, left + 96, top]

    def test_of_tables_have_a_row_a_ship(self, detect, scene, tmp_path):
        out = tmp_path / "ships.csv"
        detect(scene, "--out", out)
        header, *rows = out.read_text().splitlines()
        assert header.startswith("WKT,label,score,query,")
        assert len(rows) == SHIPS
        assert all(row.endswith(CRS) for row in rows)

    def test_of_coco_have_boxes_in_pixels(self, detect, scene, tmp_path):
        out = tmp_path / "ships.json"
        detect(scene, "--out", out, "--format", "coco", "--query", "ship", "--query", "tank")
        data = json.loads(out.read_text())
        assert [one["name"] for one in data["categories"]] == ["ship", "tank"]
        ships = [one["bbox"] for one in data["annotations"] if one["category_id"] == 1]
        assert len(ships) == SHIPS
        assert all(10 < width < 25 and 10 < height < 25 for _, _, width, height in ships)

    def test_of_an_unknown_suffix_are_refused_before_the_model_is_loaded(self, geodit, scene, tmp_path):
        said = geodit.fails(
            "predict", scene, "--task", "detect", "--query", "ship", "--model", "missing", "-o", tmp_path / "ships.kml"
        )
        assert "ships.kml has the unknown suffix .kml: give .geojson, .gpkg" in said

    @pytest.mark.parametrize("format", [[], ["--format", "coco"]])
    def test_never_replace_an_image(self, geodit, scene, tmp_path, format):
        image = tmp_path / "scene.json"
        image.write_bytes(scene.read_bytes())
        before = image.read_bytes()
        said = geodit.fails("predict", image, "--task", "caption", "--model", "missing", "-o", image, *format)
        assert "--out would overwrite the image" in said
        assert image.read_bytes() == before

    def test_of_coco_are_for_boxes(self, geodit, checkpoint, scene, tmp_path):
        said = geodit.fails(
            "predict", scene, "--task", "caption", "--model", checkpoint, "-o", tmp_path / "a.json", "--format", "coco"
        )
        assert "--format coco is for boxes, but caption is answered by a text" in said


class TestQueries:
    def test_are_all_answered(self, detect, scene, tmp_path):
        out = tmp_path / "objects.gpkg"
        result = detect(scene, "--query", "ship", "--query", "storage tank", "--out", out)
        assert "storage tank" in result.stdout
        alone = tmp_path / "ships.gpkg"
        detect(scene, "--query", "ship", "--out", alone)
        both, ships = layer(out, "objects"), layer(alone, "objects")
        assert len(ships) == SHIPS
        assert np.allclose(both[both["query"] == "ship"].bounds, ships.bounds)
        assert list(layer(out, "tiles")["query"]) == ["ship", "storage tank"] * 4

    def test_that_are_the_same_are_refused(self, geodit, checkpoint, scene):
        said = geodit.fails(
            "predict", scene, "--task", "detect", "--query", "ship", "--query", "ship", "--model", checkpoint
        )
        assert "the same query is given twice" in said


class TestImages:
    """The checkpoint's answers are arbitrary here."""

    @pytest.fixture
    def scenes(self, tmp_path):
        folder = tmp_path / "scenes"
        folder.mkdir()
        for name in ("a.tif", "b.tif"):
            write_raster(folder / name, harbor())
        (folder / "notes.txt").write_text("not an image")
        (folder / "broken.tif").write_bytes(b"hello")
        return folder

    @pytest.fixture
    def ask(self, geodit, checkpoint):
        def run(*arguments, exit_code=0):
            asked = ("--task", "detect", "--query", "ship", "--model", checkpoint, "--max-denoising-steps", 1)
            result = geodit("predict", *arguments, *asked)
            assert result.exit_code == exit_code, result.output
            return result

        return run

    def test_that_cannot_be_opened_end_the_job_with_their_name(self, ask, scenes, tmp_path):
        result = ask(scenes, *TILES, "-o", tmp_path / "ships.json", exit_code=2)
        (line,) = result.stderr.splitlines()
        assert line.startswith("geodit: error: ")
        assert "broken.tif" in line
        assert not (tmp_path / "ships.json").exists()

    @pytest.mark.parametrize("tiles", [(), TILES])
    def test_that_cannot_be_opened_are_named_and_the_others_go_on(self, ask, scenes, tmp_path, tiles):
        out = tmp_path / "ships.json"
        result = ask(scenes, scenes / "missing.tif", *tiles, "-o", out, "--keep-going", exit_code=3)
        document = json.loads(out.read_text())
        assert [one["image"] for one in document["predictions"]] == [str(scenes / "a.tif"), str(scenes / "b.tif")]
        assert [one["image"] for one in document["failed"]] == [
            str(scenes / "broken.tif"),
            str(scenes / "missing.tif"),
        ]
        warnings = [line for line in result.stderr.splitlines() if "left out" in line]
        assert len(warnings) == 2
        assert "broken.tif is left out: " in warnings[0]
        assert "there is no image" in warnings[1]
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith("ships")] == ["ships.json"]

    @pytest.mark.parametrize("name", ["ships.json", "ships.gpkg"])
    @pytest.mark.parametrize("tiles", [(), TILES])
    def test_of_which_none_can_be_opened_give_no_file(self, ask, scenes, tmp_path, name, tiles):
        result = ask(scenes / "broken.tif", *tiles, "-o", tmp_path / name, "--keep-going", exit_code=2)
        *warnings, error = result.stderr.splitlines()
        assert "broken.tif is left out" in warnings[-1]
        assert error == "geodit: error: no image could be opened"
        assert [path.name for path in tmp_path.iterdir()] == ["scenes"]

    def test_of_several_reference_systems_are_one_layer(self, ask, scenes, tmp_path):
        other = write_raster(tmp_path / "other.tif", harbor(), crs="EPSG:32633")
        ask(scenes / "a.tif", other, *TILES, "-o", tmp_path / "ships.gpkg")
        tiles = layer(tmp_path / "ships.gpkg", "tiles")
        assert tiles.crs.to_epsg() == 4326
        assert len(tiles) == 8

    def test_with_and_without_a_place_are_refused_before_the_work(self, ask, scenes, tmp_path):
        plain = write_raster(tmp_path / "plain.tif", harbor(), placed=False)
        for suffix, message in ((".csv", "plain.tif has none"), (".gpkg", "plain.tif has no place on Earth")):
            result = ask(scenes / "a.tif", plain, *TILES, "-o", tmp_path / f"ships{suffix}", exit_code=2)
            assert message in result.stderr
        ask(plain, *TILES, "-o", tmp_path / "ships.csv")
        ask(scenes / "a.tif", plain, *TILES, "-o", tmp_path / "ships.json")

    def test_without_a_reference_system_are_given_one(self, ask, tmp_path):
        path = write_raster(tmp_path / "scene.tif", harbor(), crs=None)
        ask(path, *TILES, "-o", tmp_path / "ships.gpkg", "--crs", CRS)
        assert layer(tmp_path / "ships.gpkg", "tiles").crs.to_epsg() == 32631
        result = ask(path, *TILES, "-o", tmp_path / "other.gpkg", exit_code=2)
        assert "--crs" in result.stderr


class TestTiles:
    def test_without_data_are_counted(self, detect, scene):
        with rasterio.open(scene, "r+") as dataset:
            dataset.nodata = 1
            dataset.write(np.full((3, 96, 96), 1, np.uint8), window=((0, 96), (96, 192)))
        result = detect(scene, "--json")
        assert "geodit: warning: 1 of 4 tiles have no data" in result.stderr.splitlines()
        (prediction,) = json.loads(result.stdout)["predictions"]
        assert [tile["status"] for tile in prediction["tiles"]] == ["answered", "no data", "answered", "answered"]
        assert len(prediction["boxes"]) == SHIPS - 2

    def test_that_are_not_understood_are_counted_and_asked_again(self, geodit, checkpoint, scene):
        """A checkpoint with arbitrary answers, of which none is a box unless it has to be."""

        def ask(*options):
            result = geodit(
                "predict", scene, "--task", "detect", "--query", "ship", "--model", checkpoint, *TILES,
                "--max-denoising-steps", 1, "--no-structured", "--json", *options,
            )  # fmt: skip
            assert result.exit_code == 0, result.output
            (prediction,) = json.loads(result.stdout)["predictions"]
            assert [tile["parsed"] for tile in prediction["tiles"]] == [False] * 4
            assert prediction["num_unparsed_tiles"] == 4
            (line,) = result.stderr.splitlines()
            return line, [tile["attempts"] for tile in prediction["tiles"]]

        told = "geodit: warning: 4 of 4 answers were not, or not wholly, understood"
        assert ask() == (f"{told}; --retry-unparsed asks again, with more steps", [1] * 4)
        assert ask("--retry-unparsed") == (told, [2] * 4)

    def test_in_the_area_of_interest_are_asked_about(self, detect, scene, tmp_path):
        """In longitude and latitude: the second harbor, and a ship of the first one."""
        places = [on_map(98, 2, 190, 94), on_map(40, 50, 63, 72)]
        area = tmp_path / "area.geojson"
        geopandas.GeoDataFrame(geometry=places, crs=CRS).to_crs("EPSG:4326").to_file(area)
        out = tmp_path / "ships.gpkg"
        detect(scene, "--aoi", area, "--out", out)
        ships = layer(out, "objects")
        assert len(ships) == 3
        assert ships.geometry.intersects(shapely.union_all(places)).all()
        assert len(layer(out, "tiles")) == 2

    def test_outside_the_area_of_interest_are_all_only_by_mistake(self, geodit, checkpoint, scene, tmp_path):
        area = tmp_path / "area.geojson"
        geopandas.GeoDataFrame(geometry=[shapely.box(10, 10, 11, 11)], crs="EPSG:4326").to_file(area)
        said = geodit.fails(
            "predict", scene, "--task", "detect", "--query", "ship", "--model", checkpoint, *TILES, "--aoi", area
        )
        assert "area.geojson touches no image" in said

    def test_are_resampled_to_a_ground_sampling_distance(self, detect, predict, scene, tmp_path):
        """Twice the pixels of half the size, seen as the model was trained."""
        fine = np.repeat(np.repeat(harbor(), 2, axis=0), 2, axis=1)
        path = write_raster(tmp_path / "fine.tif", fine, transform=PLACE @ rasterio.Affine.scale(0.5))
        detect(scene, "--out", tmp_path / "ships.gpkg")
        # UTM shows lengths 0.04% too short at its central meridian; here it is 0.015%.
        result = predict(path, "--gsd", 0.50007, *TILES, *FAST, "--out", tmp_path / "fine.gpkg")
        assert "wrote" in result.stdout
        ships, found = layer(tmp_path / "ships.gpkg", "objects"), layer(tmp_path / "fine.gpkg", "objects")
        assert len(found) == len(ships) == SHIPS
        assert len(layer(tmp_path / "fine.gpkg", "tiles")) == 4
        for ship in ships.geometry:
            assert found.geometry.distance(ship).min() == 0
            assert found.geometry.intersection(ship).area.max() > 0.6 * ship.area


def on_map(x1, y1, x2, y2):
    """A box of pixels in map coordinates."""
    return shapely.box(PLACE.c + x1 / 2, PLACE.f - y2 / 2, PLACE.c + x2 / 2, PLACE.f - y1 / 2)


class TestAnswers:
    def test_are_a_map_of_tiles(self, predict, scene, tmp_path):
        out = tmp_path / "water.gpkg"
        result = predict(
            scene, "--task", "vqa", "--query", "Is there a ship?", "--choices", "yes,no", *TILES, "--out", out
        )
        assert f"wrote {out}" in result.stdout
        answers = layer(out, "answers")
        assert len(answers) == 4
        assert set(answers["text"]) <= {"yes", "no"}
        assert np.allclose(answers["p_yes"] + answers["p_no"], 1)
        chosen = np.where(answers["text"] == "yes", answers["p_yes"], answers["p_no"])
        assert np.allclose(answers["score"], chosen)
        # The four harbors are the same picture.
        assert answers["text"].nunique() == 1
        assert answers.geometry.area.tolist() == [48.0**2] * 4

    def test_of_several_tiles_are_one_line_each(self, predict, scene, tmp_path):
        result = predict(scene, "--task", "caption", *TILES, "--json")
        (prediction,) = json.loads(result.stdout)["predictions"]
        assert prediction["num_tiles"] == 4
        assert "\n" not in prediction["text"]
        assert prediction["text"] == prediction["tiles"][0]["text"] != ""

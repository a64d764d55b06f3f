# SPDX-License-Identifier: Apache-2.0
"""From annotations to a data set that training reads."""

import json

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from geodit.annotations.import_report import BadRecordsError
from geodit.annotations.importing import ImportOptions, held_out_images, import_annotations
from geodit.annotations.records import BadRecord, LabeledImage, LabeledObject
from geodit.annotations.stored import read_manifest, read_split
from geodit.annotations.tiles import TileOptions
from geodit.annotations.vector_labels import read_vector_labels
from geodit.data.schema import QuestionDataset, row_questions

SIDE, TILE = 256, 64
PLACE = rasterio.Affine(0.5, 0, 590000, 0, -0.5, 5755000)
# Of ships, in pixels; one lies across the edge of two tiles.
SHIPS = [(10, 12, 30, 28), (100, 90, 124, 110), (60, 150, 70, 160), (200, 200, 230, 240)]


@pytest.fixture
def raster(tmp_path):
    path = tmp_path / "harbor.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (3, SIDE, SIDE), dtype=np.uint8)
    for x1, y1, x2, y2 in SHIPS:
        pixels[:, y1:y2, x1:x2] = 250
    profile = {"driver": "GTiff", "height": SIDE, "width": SIDE, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:32631", transform=PLACE, **profile) as dataset:
        dataset.write(pixels)
    return path


@pytest.fixture
def labels(tmp_path):
    """Boxes that were drawn on the map, in longitude and latitude."""
    boxes = []
    for x1, y1, x2, y2 in SHIPS:
        (left, top), (right, bottom) = PLACE @ (x1, y1), PLACE @ (x2, y2)
        boxes.append(shapely.box(left, bottom, right, top))
    frame = geopandas.GeoDataFrame({"class": ["ship"] * len(boxes)}, geometry=boxes, crs="EPSG:32631")
    frame.to_crs("EPSG:4326").to_file(tmp_path / "ships.gpkg")
    return tmp_path / "ships.gpkg"


def options(**changes):
    plain = {"tiles": TileOptions(size=TILE), "find_duplicates": False, "split_by": "area", "block_size": 32.0}
    plain |= {"empty_share": 1.0}
    return ImportOptions(**{**plain, "shares": {"train": 0.5, "test": 0.5}, **changes})


def test_labels_on_a_map_become_a_data_set(raster, labels, tmp_path):
    records = read_vector_labels([str(raster)], str(labels), label_field="class")
    result = import_annotations(records, tmp_path / "ships", options(), source={"labels": labels.name})
    rows = [row for split in ("train", "test") for row in read_split(tmp_path / "ships", split)]
    # Of the tile that shows the smaller part of a ship it cannot be said whether it shows one: nothing is asked.
    assert len(rows) == sum(result.rows.values()) == (SIDE // TILE) ** 2 - 1
    found = set()
    for row in rows:
        left, top, right, bottom = json.loads(row["meta"])["window"]
        assert np.asarray(row["image"]).shape == (bottom - top, right - left, 3)
        (detect,) = [one for one in row_questions(row) if one.task == "detect"]
        assert detect.query == "ship"
        corner = np.array([left, top, left, top])
        found |= {tuple(np.rint(box + corner).astype(int).tolist()) for box in detect.boxes}
    # The ship across an edge is in the tile that shows more than half of it, up to that edge.
    assert found == {SHIPS[0], SHIPS[1], (64, 150, 70, 160), SHIPS[3]}
    manifest = read_manifest(tmp_path / "ships")
    assert manifest["classes"] == ["ship"]
    assert manifest["source"] == {"labels": "ships.gpkg"}
    assert manifest["questions"]["train"]["detect"] == result.questions["train"]["detect"]


def test_no_pixel_is_in_two_splits(raster, labels, tmp_path):
    records = read_vector_labels([str(raster)], str(labels), label_field="class")
    tiles = TileOptions(size=TILE, overlap=0.5)
    result = import_annotations(records, tmp_path / "ships", options(tiles=tiles))
    assert result.splits.left_out > 0
    seen = {}
    for split in ("train", "test"):
        seen[split] = np.zeros((SIDE, SIDE), bool)
        for row in read_split(tmp_path / "ships", split):
            left, top, right, bottom = json.loads(row["meta"])["window"]
            seen[split][top:bottom, left:right] = True
    assert seen["train"].any()
    assert seen["test"].any()
    assert not (seen["train"] & seen["test"]).any()


def test_what_cannot_be_used_is_an_error_unless_told_otherwise(raster, tmp_path):
    good = LabeledImage(str(raster), "labels.json", objects=(LabeledObject("ship", (10.0, 12.0, 30.0, 28.0)),))
    records = [
        good,
        BadRecord("labels.json, line 2", "no box"),
        LabeledImage(str(tmp_path / "gone.tif"), "labels.json"),
    ]
    with pytest.raises(BadRecordsError, match="line 2: no box") as error:
        import_annotations(records, tmp_path / "ships", options())
    assert error.value.report.num_bad == 2
    assert not (tmp_path / "ships").exists()
    result = import_annotations(records, tmp_path / "ships", options(skip_bad=True))
    assert result.report.num_bad == 2
    assert sum(result.rows.values()) == (SIDE // TILE) ** 2


def test_classes_get_other_names(raster, tmp_path):
    objects = tuple(LabeledObject(label, box) for label, box in zip(("boat", "ship"), SHIPS[:2], strict=True))
    record = LabeledImage(str(raster), "labels.json", objects=objects)
    import_annotations([record], tmp_path / "ships", options(names={"boat": "ship"}))
    assert read_manifest(tmp_path / "ships")["classes"] == ["ship"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ("detect", "paint")}, "unknown tasks paint"),
        ({"shares": {"train": 0.8, "test": 0.8}}, "add up to 1"),
        ({"empty_share": -0.1}, "empty_share must be a share"),
        ({"held_out": {"exam": ("*.tif",)}}, "unknown splits exam"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(change, message):
    with pytest.raises(ValueError, match=message):
        options(**change)


def test_what_is_not_known_of_a_class_is_not_known_under_its_other_name(raster, tmp_path):
    records = [
        LabeledImage(str(raster), "labels.json", objects=(LabeledObject("plane", SHIPS[0]),)),
        LabeledImage(str(raster), "labels.json", objects=(LabeledObject("boat", SHIPS[1]),)),
        LabeledImage(str(raster), "labels.json", partial_labels=frozenset({"boat"})),
    ]
    changes = {"tiles": TileOptions(size=SIDE), "split_by": "group", "block_size": None, "names": {"boat": "ship"}}
    import_annotations(records, tmp_path / "ships", options(shares={"train": 1.0}, **changes))
    asked = [{one.query for one in row_questions(row)} for row in read_split(tmp_path / "ships", "train")]
    assert len(asked) == 3
    assert not any("ship" in query for query in asked[2])
    assert "ship" in asked[1]


def test_training_reads_it(raster, labels, tmp_path):
    records = read_vector_labels([str(raster)], str(labels), label_field="class")
    import_annotations(records, tmp_path / "ships", options(tasks=("detect", "vqa")))
    items = QuestionDataset(read_split(tmp_path / "ships", "train"))
    assert {item["question"].task for item in (items[index] for index in range(len(items)))} == {"detect", "vqa"}


def test_the_same_annotations_give_the_same_bytes(raster, labels, tmp_path):
    contents = []
    for name in ("first", "second"):
        records = read_vector_labels([str(raster)], str(labels), label_field="class")
        import_annotations(records, tmp_path / name, options())
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        contents.append([(path.relative_to(tmp_path / name), path.read_bytes()) for path in files])
    assert contents[0] == contents[1]


def test_images_are_held_out_by_name(tmp_path):
    found = held_out_images({"maps/OSBS_029.tif", "maps/SOAP_061.tif"}, {"test": ("OSBS_*",)})
    assert found == {"maps/OSBS_029.tif": "test"}
    assert held_out_images({"maps/a.tif"}, {"test": ("maps/*",)}) == {"maps/a.tif": "test"}
    with pytest.raises(ValueError, match=r"no image is named nothing\*, which is held out for test"):
        held_out_images({"a.tif"}, {"test": ("nothing*",)})
    with pytest.raises(ValueError, match=r"a\.tif is held out for validation and for test"):
        held_out_images({"a.tif"}, {"validation": ("a*",), "test": ("*.tif",)})


def test_what_is_left_out_is_counted(raster, labels, tmp_path):
    records = list(read_vector_labels([str(raster)], str(labels), label_field="class"))
    tiles = TileOptions(size=TILE, overlap=0.5)
    shares = {"train": 0.8, "test": 0.2}
    result = import_annotations(records, tmp_path / "few", options(tiles=tiles, shares=shares, empty_share=0.2))
    everything = import_annotations(records, tmp_path / "all", options(tiles=tiles, shares=shares))
    assert everything.empty == 0 < result.empty
    assert result.rows["train"] == everything.rows["train"] - result.empty
    assert result.rows["test"] == everything.rows["test"]
    assert result.repeats == everything.repeats > 0
    assert read_manifest(tmp_path / "few")["splits"]["empty"] == result.empty

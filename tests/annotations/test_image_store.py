# SPDX-License-Identifier: Apache-2.0
"""Images of a data set: their own bytes, or the paths of their files where they are used as they are."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from geodit.annotations.importing import ImportOptions, import_annotations
from geodit.annotations.records import LabeledImage, LabeledObject
from geodit.annotations.stored import read_manifest, read_split
from geodit.annotations.tiles import TileOptions
from geodit.data.schema import QuestionDataset
from geodit.data.streaming import QuestionStream

SIDE = 40


def photo(path, mode="RGB", side=SIDE):
    channels = len(mode)
    pixels = np.random.default_rng(len(path.name)).integers(0, 255, (side, side, channels), dtype=np.uint8)
    Image.fromarray(pixels, mode).save(path, quality=90) if path.suffix == ".jpg" else Image.fromarray(
        pixels, mode
    ).save(path)
    return path


def make(images, output, **changes):
    records = [
        LabeledImage(str(path), "labels.json", objects=(LabeledObject("ship", (2.0, 3.0, 20.0, 30.0)),))
        for path in images
    ]
    plain = {"find_duplicates": False, "shares": {"train": 1.0}, "split_by": "image"}
    return import_annotations(records, output, ImportOptions(**{**plain, **changes}))


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    return [photo(tmp_path / "photos" / name) for name in ("first.jpg", "a-second.png")]


def stored(folder):
    import pyarrow.parquet as pq

    return pq.read_table(folder / "data/train-00000.parquet")["image"].to_pylist()


def test_referenced_images_are_read_wherever_the_folders_are_moved_together(tmp_path, photos):
    make(photos, tmp_path / "sets/ships", reference_images=True)
    assert stored(tmp_path / "sets/ships") == [
        {"bytes": None, "path": "../../photos/first.jpg"},
        {"bytes": None, "path": "../../photos/a-second.png"},
    ]
    assert read_manifest(tmp_path / "sets/ships")["images"] == "referenced"
    embedded = make_embedded(photos, tmp_path)
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "sets", tmp_path / "moved/sets")
    shutil.move(tmp_path / "photos", tmp_path / "moved/photos")
    rows = read_split(tmp_path / "moved/sets/ships", "train")
    items = QuestionDataset(rows)
    assert [np.asarray(items[index]["image"]).tolist() for index in range(len(items))] == embedded
    stream = QuestionStream(read_split(tmp_path / "moved/sets/ships", "train", streaming=True), shuffle_seed=None)
    found = [np.asarray(item["image"]).tolist() for item, _ in zip(stream, embedded, strict=False)]
    assert found == embedded


def make_embedded(photos, tmp_path):
    make(photos, tmp_path / "embedded")
    items = QuestionDataset(read_split(tmp_path / "embedded", "train"))
    return [np.asarray(items[index]["image"]).tolist() for index in range(len(items))]


@pytest.mark.parametrize(
    ("name", "mode", "changes", "message"),
    [
        ("a.jpg", "RGB", {"tiles": TileOptions(size=20)}, "of 40 x 40 pixels is cut or resampled"),
        ("a.bmp", "RGB", {}, "no JPEG or PNG file here"),
        ("a.png", "RGB", {"bands": (3, 2, 1)}, "not used as it is"),
        ("a.png", "RGBA", {}, "not used as it is"),
    ],
)
def test_what_is_not_used_as_it_is_cannot_be_referenced(tmp_path, name, mode, changes, message):
    path = photo(tmp_path / name, mode)
    with pytest.raises(ValueError, match=message):
        make([path], tmp_path / "out", reference_images=True, **changes)
    assert not (tmp_path / "out").exists()


def test_a_jpeg_whose_bands_are_chosen_is_stored_as_it_is_shown(tmp_path):
    path = photo(tmp_path / "a.jpg")
    make([path], tmp_path / "plain")
    assert stored(tmp_path / "plain")[0]["bytes"] == path.read_bytes()
    make([path], tmp_path / "turned", bands=(3, 2, 1))
    shown = np.asarray(read_split(tmp_path / "turned", "train")[0]["image"])
    assert np.array_equal(shown, np.asarray(Image.open(path))[..., ::-1])


def test_a_data_set_with_paths_is_not_published(tmp_path, photos, geodit):
    make(photos, tmp_path / "ships", reference_images=True)
    assert "import it again without --reference-images" in geodit.fails(
        "data", "push", tmp_path / "ships", "--repo", "org/ships"
    )
    assert 'read_split("path/to/the/folder", "train")' in (tmp_path / "ships/README.md").read_text()


@pytest.mark.parametrize("path", ["/etc/hostname.png", "hf://datasets/a/b/c.png", None])
def test_a_path_that_begins_elsewhere_is_refused(tmp_path, photos, path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    make(photos, tmp_path / "ships", reference_images=True)
    file = tmp_path / "ships/data/train-00000.parquet"
    table = pq.read_table(file)
    rows = [row | {"image": {"bytes": None, "path": path}} for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    with pytest.raises(ValueError, match="not by a path from there"):
        read_split(tmp_path / "ships", "train")


def test_the_command_line_asks_for_it(tmp_path, photos, geodit):
    for path, caption in zip(photos, ("A harbor.", "A quay."), strict=True):
        with (path.parent / "captions.jsonl").open("a") as file:
            file.write(json.dumps({"image": path.name, "caption": caption}) + "\n")
    result = geodit(
        *("data", "import", tmp_path / "photos/captions.jsonl", "-o", tmp_path / "out"),
        *("--reference-images", "--shares", "1,0,0"),
    )
    assert result.exit_code == 0, result.output
    assert {one["path"] for one in stored(tmp_path / "out")} == {"../photos/first.jpg", "../photos/a-second.png"}

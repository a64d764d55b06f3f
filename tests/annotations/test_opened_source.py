# SPDX-License-Identifier: Apache-2.0
"""Sources that have to be unpacked or fetched: ZIP files, tables, and data sets of the Hub."""

import csv
import io
import json
import zipfile

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Features, List, Value
from huggingface_hub import constants
from PIL import Image

from geodit.annotations.opened_source import open_source
from geodit.annotations.records import BadRecord
from geodit.annotations.stored import read_manifest, read_split
from geodit.data.schema import row_questions
from hub_server.repository import File

NAME = "org/planes"


def picture(number):
    pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def table(first, number):
    """A table as CPPE-5 has it."""
    columns = {
        "image": [{"bytes": picture(index), "path": None} for index in range(first, first + number)],
        "objects": [{"bbox": [[2.0, 3.0, 20.0, 10.0]], "category": [index % 2]} for index in range(number)],
    }
    kind = {"bbox": List(List(Value("float32"), length=4)), "category": List(ClassLabel(names=["plane", "ship"]))}
    buffer = io.BytesIO()
    datasets.Dataset.from_dict(columns, features=Features(image=datasets.Image(), objects=kind)).to_parquet(buffer)
    return buffer.getvalue()


@pytest.fixture
def logged_in(default_hub, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return default_hub


TABLES = {
    "data/train-00000-of-00002.parquet": (0, 4),
    "data/train-00001-of-00002.parquet": (4, 2),
    "data/test-00000-of-00001.parquet": (6, 2),
}


def on_hub(hub, tables=TABLES, branch="main"):
    repo = hub.add(NAME, "dataset")
    contents = {path: File(table(*arguments)) for path, arguments in tables.items()}
    if branch != "main":
        repo.refs[branch] = repo.refs["refs/heads/main"]
    script = File(b"raise SystemExit('a script of a data set ran')\n")
    repo.commit("main", {"planes.py": script, "README.md": File(b"# Planes\n")}, "Add a script")
    repo.commit(branch, contents, "Add")
    return repo


def importing(geodit, tmp_path, *arguments):
    return geodit("data", "import", *arguments, "-o", tmp_path / "out", "--keep-duplicates")


class TestHub:
    def test_a_data_set_with_objects_is_imported(self, logged_in, geodit, tmp_path):
        repo = on_hub(logged_in)
        result = importing(geodit, tmp_path, f"hub:{NAME}", "--split-by", "source")
        assert result.exit_code == 0, result.output
        rows = {split: read_split(tmp_path / "out", split) for split in ("train", "test")}
        assert {split: len(found) for split, found in rows.items()} == {"train": 6, "test": 2}
        images = {row["image"].tobytes() for found in rows.values() for row in found}
        assert images == {Image.open(io.BytesIO(picture(number))).tobytes() for number in range(8)}
        (detect,) = [one for one in row_questions(rows["test"][0]) if one.task == "detect" and one.boxes]
        assert (detect.query, detect.boxes) == ("plane", ((2.0, 3.0, 22.0, 13.0),))
        manifest = read_manifest(tmp_path / "out")
        assert manifest["source"]["source"] == f"hub:{NAME}@{repo.head.sha}"
        assert manifest["classes"] == ["plane", "ship"]
        listed = [row["path"] for row in csv.DictReader((tmp_path / "out/sources.csv").open())]
        assert set(TABLES) < set(listed)
        assert "data-train-00000-of-00002-0000001.png" in listed

    def test_nothing_unpacked_stays(self, logged_in, geodit, tmp_path):
        on_hub(logged_in)
        assert importing(geodit, tmp_path, NAME, "--format", "hub").exit_code == 0
        failed = geodit(*("data", "import", f"hub:{NAME}", "-o", tmp_path / "other", "--classes", "boat"))
        assert failed.exit_code == 1
        left = {path.name for path in tmp_path.iterdir() if ".lock" not in path.name}
        assert left == {"cache", "out"}

    def test_the_same_commit_gives_the_same_bytes(self, logged_in, geodit, tmp_path):
        on_hub(logged_in)
        made = []
        for name in ("first", "second"):
            assert importing(geodit, tmp_path / name, f"hub:{NAME}").exit_code == 0
            files = sorted(path for path in (tmp_path / name / "out").rglob("*") if path.is_file())
            made.append([(path.name, path.read_bytes()) for path in files])
        assert made[0] == made[1]

    def test_tables_that_the_hub_has_made_are_taken_where_there_are_no_others(self, logged_in, tmp_path):
        on_hub(logged_in, {"default/train/0000.parquet": (0, 2)}, branch="refs/convert/parquet")
        opened = open_source(f"hub:{NAME}", tmp_path / "unpacked")
        assert [record.split for record in opened.records] == ["train", "train"]

    def test_of_several_subsets_one_is_named(self, logged_in, tmp_path):
        on_hub(logged_in, {"small/train-0.parquet": (0, 1), "large/train-0.parquet": (0, 3)})
        with pytest.raises(ValueError, match="has tables of several subsets: name one of large, small"):
            open_source(f"hub:{NAME}", tmp_path / "unpacked")
        with pytest.raises(ValueError, match="has no subset other; it has large, small"):
            open_source(f"hub:{NAME}", tmp_path / "unpacked", subset="other")
        opened = open_source(f"hub:{NAME}", tmp_path / "unpacked", subset="large")
        assert len(list(opened.records)) == 3

    def test_what_is_not_there_is_one_line(self, logged_in, geodit, tmp_path):
        logged_in.add("org/empty", "dataset")
        fails = geodit.fails
        assert "has no Parquet files, and no others" in fails(
            "data", "import", "hub:org/empty", "-o", tmp_path / "out"
        )
        assert "no data set of that name" in fails("data", "import", "hub:org/nothing", "-o", tmp_path / "out")
        assert "names no data set of the Hub" in fails("data", "import", "hub:planes", "-o", tmp_path / "out")


def test_tables_in_a_folder_are_imported(geodit, tmp_path):
    for path, arguments in TABLES.items():
        (tmp_path / "planes" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "planes" / path).write_bytes(table(*arguments))
    result = importing(geodit, tmp_path, tmp_path / "planes", "--bbox-format", "xyxy", "--split-by", "source")
    assert result.exit_code == 0, result.output
    (detect,) = [
        one for one in row_questions(read_split(tmp_path / "out", "test")[0]) if one.boxes and one.task == "detect"
    ]
    assert detect.boxes == ((2.0, 3.0, 20.0, 10.0),)
    assert read_manifest(tmp_path / "out")["reading"]["bbox_format"] == "xyxy"


COCO = {
    "images": [{"id": number, "file_name": f"{number}.png"} for number in range(4)],
    "annotations": [
        {"id": number, "image_id": number, "category_id": 1, "bbox": [2, 3, 20, 10]} for number in range(4)
    ],
    "categories": [{"id": 1, "name": "ship"}],
}
CVAT = "<annotations>{}</annotations>".format(
    "".join(
        f'<image name="{number}.png" width="40" height="40">'
        '<box label="ship" xtl="2" ytl="3" xbr="22" ybr="13"/></image>'
        for number in range(4)
    )
)
LABEL_STUDIO = [
    {
        "data": {"image": f"images/{number}.png"},
        "annotations": [
            {
                "result": [
                    {
                        "type": "rectanglelabels",
                        "original_width": 40,
                        "original_height": 40,
                        "value": {"x": 5, "y": 7.5, "width": 50, "height": 25, "rectanglelabels": ["ship"]},
                    }
                ]
            }
        ],
    }
    for number in range(4)
]
EXPORTS = {
    "cvat": {"annotations.xml": CVAT},
    "coco": {"result.json": json.dumps(COCO)},
    "label-studio": {"project-1.json": json.dumps(LABEL_STUDIO)},
    "yolo": {
        "classes.txt": "ship\n",
        "notes.json": "{}",
        **{f"labels/{number}.txt": "0 0.3 0.2 0.5 0.25\n" for number in range(4)},
    },
}


def export(path, labels, **others):
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(4):
            archive.writestr(f"images/{number}.png", picture(number))
        for name, content in (labels | others).items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_is_read_from_its_zip_file(geodit, tmp_path, name):
    path = export(tmp_path / "export.zip", EXPORTS[name])
    result = importing(geodit, tmp_path, path, "--shares", "1,0,0")
    assert result.exit_code == 0, result.output
    rows = read_split(tmp_path / "out", "train")
    assert len(rows) == 4
    for row in rows:
        (detect,) = [one for one in row_questions(row) if one.task == "detect"]
        assert detect.boxes[0] == pytest.approx((2.0, 3.0, 22.0, 13.0))
        assert json.loads(row["meta"])["source"].startswith("images/")
    listed = [row["path"] for row in csv.DictReader((tmp_path / "out/sources.csv").open())]
    assert listed == ["export.zip", *(f"images/{number}.png" for number in range(4))]
    assert {one.name for one in tmp_path.iterdir() if ".lock" not in one.name} == {"export.zip", "out"}


@pytest.mark.parametrize(
    ("labels", "arguments", "message"),
    [
        ({"notes.txt": "nothing"}, [], "holds no annotations of a known format"),
        ({"a/annotations.xml": CVAT, "b/annotations.xml": CVAT}, [], "has several files of annotations"),
        ({"../annotations.xml": CVAT}, [], "leads out of its folder"),
        (EXPORTS["cvat"], ["--format", "nothing"], "unknown format 'nothing'"),
        (EXPORTS["cvat"], ["--bbox-format", "xyxy"], "for tables of a data set of the Hub"),
        (EXPORTS["cvat"], ["--reference-images"], "for images in files of their own"),
    ],
)
def test_what_is_wrong_with_a_zip_file_is_one_line(geodit, tmp_path, labels, arguments, message):
    path = export(tmp_path / "export.zip", labels)
    assert message in geodit.fails("data", "import", path, "-o", tmp_path / "out", *arguments)
    assert {one.name for one in tmp_path.iterdir() if ".lock" not in one.name} == {"export.zip"}


def test_images_that_lie_elsewhere_belong_to_an_archive_of_labels(tmp_path):
    path = tmp_path / "labels.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("annotations.xml", CVAT)
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / f"images/{number}.png").write_bytes(picture(number))
    records = list(open_source(str(path), tmp_path / "unpacked", images=tmp_path / "images").records)
    assert [type(record) is BadRecord for record in records] == [False, False, False, True]

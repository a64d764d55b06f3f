# SPDX-License-Identifier: Apache-2.0
"""Imported data sets have a card, are published in one commit, and are read from the Hub as from their folder."""

import json
import shutil

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard, constants
from PIL import Image

from geodit.annotations.cards import dataset_card
from geodit.annotations.hub_data import HubDataset, hub_dataset
from geodit.annotations.importing import ImportOptions, import_annotations
from geodit.annotations.published_files import dataset_files
from geodit.annotations.records import BadRecord, LabeledImage, LabeledObject
from geodit.annotations.stored import MissingSplitError, read_split, write_split
from geodit.data.schema import Question, make_row
from hub_server.faults import DropRequest, Status

REPO = "org/ships"


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """A data set of eight images, of which a record was bad."""
    root = tmp_path_factory.mktemp("ships")
    records = [BadRecord("labels.json, record 9", "no box")]
    for number in range(8):
        path = root / f"{number}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (48, 48, 3), dtype=np.uint8)).save(path)
        objects = (LabeledObject("ship", (2.0, 3.0, 20.0, 30.0)),)
        records.append(LabeledImage(str(path), "labels.json", objects=objects))
    options = ImportOptions(find_duplicates=False, skip_bad=True, shares={"train": 0.75, "test": 0.25})
    import_annotations(records, root / "ships", options, source={"source": "labels.json", "images": None})
    return root / "ships"


@pytest.fixture
def folder(imported, tmp_path):
    return shutil.copytree(imported, tmp_path / "ships")


@pytest.fixture
def logged_in(default_hub, monkeypatch, tmp_path):
    """Someone is, who may write, with a cache of their own."""
    monkeypatch.setenv("HF_TOKEN", default_hub.tokens.write)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", default_hub.endpoint)
    return default_hub


def files_of(hub, revision="main"):
    files = hub.repos[f"datasets/{REPO}"].at(revision).files
    return {path: file.content for path, file in files.items() if path != ".gitattributes"}


def images_of(rows):
    return {row["image_id"]: row["image"].tobytes() for row in rows}


class TestCard:
    def test_it_says_what_is_in_the_folder(self, imported):
        card = DatasetCard.load(imported / "README.md")
        assert [file["path"] for file in card.data.configs[0]["data_files"]] == [
            "data/train-*.parquet",
            "data/test-*.parquet",
        ]
        assert card.data.size_categories == ["n<1K"]
        assert card.data.license is None
        assert {"object-detection", "visual-question-answering"} <= set(card.data.task_categories)
        counts = json.loads((imported / "import.json").read_text())["questions"]["train"]
        assert f"| `train` | 6 | {' | '.join(str(counts[task]) for task in counts_in_order(counts))} |" in card.text
        assert "Classes of objects: ship." in card.text
        assert "* source: `labels.json`" in card.text
        assert "| records that cannot be read | 1 |" in card.text
        assert "\n\n\n" not in card.content

    def test_the_folder_loads_by_it(self, imported, tmp_path):
        table = datasets.load_dataset(str(imported), cache_dir=str(tmp_path))
        assert {split: len(rows) for split, rows in table.items()} == {"train": 6, "test": 2}

    def test_it_says_what_was_left_out(self, folder):
        manifest = json.loads((folder / "import.json").read_text())
        assert "left out" not in dataset_card(folder).text
        manifest["splits"] |= {"left_out": 1234, "empty": 7, "repeats": 5}
        (folder / "import.json").write_text(json.dumps(manifest))
        text = dataset_card(folder).text
        assert "1,234 tiles are in no split" in text
        assert "7 tiles without an object are left out of the training split." in text
        assert "5 tiles are left out of the other splits" in text

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"rows": {}}, "names no split that has rows"),
            ({"rows": {"train": "many"}}, "rows in import.json must hold counts, not 'many'"),
            ({"questions": [1]}, "questions in import.json must be an object"),
        ],
    )
    def test_a_manifest_that_was_damaged_is_one_error(self, folder, change, message):
        manifest = json.loads((folder / "import.json").read_text())
        (folder / "import.json").write_text(json.dumps(manifest | change))
        with pytest.raises(ValueError, match=message):
            dataset_card(folder)


def counts_in_order(counts):
    return [task for task in ("caption", "ground", "detect", "vqa", "classify") if task in counts]


class TestPush:
    @pytest.mark.usefixtures("logged_in")
    def test_all_is_in_one_commit(self, hub, geodit, folder):
        result = geodit("data", "push", folder, "--repo", REPO, "--private", "--license", "cc-by-4.0")
        assert result.exit_code == 0, result.output
        repo = hub.repos[f"datasets/{REPO}"]
        files = files_of(hub)
        assert (
            set(files)
            == {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
            >= {"data/train-00000.parquet", "data/test-00000.parquet", "import.json", "README.md"}
        )
        for path, content in files.items():
            assert path == "README.md" or content == (folder / path).read_bytes()
        assert repo.private
        assert [commit.message for commit in repo.history()] == ["Upload ships with geodit", "initial commit"]
        card = DatasetCard(files["README.md"].decode())
        assert (card.data.license, card.data.pretty_name) == ("cc-by-4.0", "ships")
        assert f'load_dataset("{REPO}", split="train")' in card.text
        assert f"{hub.endpoint}/datasets/{REPO}/commit/{repo.head.sha}" in result.stdout

    @pytest.mark.usefixtures("logged_in")
    def test_tables_of_an_earlier_push_do_not_stay(self, hub, geodit, folder):
        shutil.copy(folder / "data/test-00000.parquet", folder / "data/train-00001.parquet")
        assert geodit("data", "push", folder, "--repo", REPO).exit_code == 0
        (folder / "data/train-00001.parquet").unlink()
        result = geodit("data", "push", folder, "--repo", REPO)
        assert "1 removed" in result.stdout
        assert "data/train-00001.parquet" not in files_of(hub)

    def test_a_card_that_was_changed_is_pushed_as_it_is(self, folder):
        text = (folder / "README.md").read_text().replace("# Overhead images", "# My own ships, and images")
        (folder / "README.md").write_text(text)
        files = {file.path_in_repo: file.content for file in dataset_files(folder, repo_id=REPO, license="mit")}
        assert b"# My own ships" in files["README.md"]
        assert b"license: mit" in files["README.md"]

    def test_a_dry_run_needs_no_hub(self, geodit, folder):
        result = geodit("data", "push", folder, "--repo", REPO, "--dry-run", "--json")
        assert {file["path"] for file in json.loads(result.stdout)["files"]} >= {"import.json", "README.md"}

    def test_what_does_not_belong_there_stops_it(self, geodit, folder, tmp_path):
        secret = "hf_" + "a1B2" * 9  # shaped as a token
        write_split(folder, "validation", [row(0, answer=secret)])
        assert "a row of" in geodit.fails("data", "push", folder, "--repo", REPO)
        path = folder / "data/validation-00000.parquet"
        path.unlink()
        (tmp_path / "elsewhere.parquet").write_bytes(b"PAR1")
        path.symlink_to(tmp_path / "elsewhere.parquet")
        assert "leads out of its folder" in geodit.fails("data", "push", folder, "--repo", REPO)
        path.unlink()
        path.write_bytes(b"PAR1, and no more")
        assert "is no Parquet file" in geodit.fails("data", "push", folder, "--repo", REPO)
        path.unlink()
        (folder / "import.json").unlink()
        assert "import.json cannot be read" in geodit.fails("data", "push", folder, "--repo", REPO)
        assert "there is no folder" in geodit.fails("data", "push", tmp_path / "nowhere", "--repo", REPO)
        assert "takes the form owner/name" in geodit.fails("data", "push", folder, "--repo", "ships")


def row(number, answer="yes"):
    pixels = np.full((8, 8, 3), number, np.uint8)
    return make_row(pixels, str(number), [Question("vqa", "Is there a ship?", answer=answer)])


class TestFromTheHub:
    def test_a_hub_that_cannot_be_used_is_one_line(self, logged_in, no_waiting):
        logged_in.add(REPO, "dataset")
        logged_in.fail("repo_info", DropRequest(), times=9)
        with pytest.raises(ConnectionError, match="no folder org/ships, and the Hub cannot be asked"):
            read_split(REPO, "train", streaming=True)
        logged_in.go_well()
        logged_in.fail("repo_info", Status(403, "Access is restricted", {"X-Error-Code": "GatedRepo"}), times=9)
        with pytest.raises(PermissionError, match="only for those who accept its terms"):
            read_split(REPO, "train", streaming=True)

    @pytest.fixture
    def pushed(self, logged_in, geodit, folder):
        assert geodit("data", "push", folder, "--repo", REPO).exit_code == 0
        return logged_in.repos[f"datasets/{REPO}"]

    def test_rows_are_those_of_the_folder(self, pushed, folder, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)
        expected = images_of(read_split(folder, "train"))
        for name in (REPO, f"hub:{REPO}", f"{REPO}@main", f"{REPO}@{pushed.head.sha}"):
            assert images_of(read_split(name, "train")) == expected
        assert images_of(read_split(REPO, "train", streaming=True)) == expected

    def test_a_preview_shows_it(self, pushed, geodit, tmp_path):
        result = geodit("data", "preview", f"hub:{REPO}", "-o", tmp_path / "sheet.png", "-n", "2")
        assert result.exit_code == 0, result.output
        assert Image.open(tmp_path / "sheet.png").width > 96

    def test_what_is_not_there_is_named(self, pushed):
        with pytest.raises(MissingSplitError, match="org/ships has no split validation; it has test, train"):
            read_split(REPO, "validation")
        with pytest.raises(MissingSplitError, match="it has test, train"):
            read_split(REPO, "validation", streaming=True)
        with pytest.raises(FileNotFoundError, match="org/ships has no revision next"):
            read_split(f"{REPO}@next", "train")
        with pytest.raises(FileNotFoundError, match="no folder org/boats, and no data set of that name on the Hub"):
            read_split("org/boats", "train")

    @pytest.mark.parametrize("streaming", [False, True])
    def test_paths_of_this_machine_are_not_read(self, logged_in, pushed, tmp_path, streaming):
        table = pq.read_table(io_of(pushed, "data/train-00000.parquet"))
        rows = table.to_pylist()
        rows[0]["image"] = {"bytes": None, "path": str(tmp_path / "private.png")}
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
        (tmp_path / "other").mkdir()
        write_split(tmp_path / "other", "train", rows)
        content = (tmp_path / "other/data/train-00000.parquet").read_bytes()
        change = type(pushed.head.files["import.json"])(content)
        pushed.commit("main", {"data/train-00000.parquet": change}, "Bad")
        with pytest.raises(ValueError, match="names images that are not in it"):
            read_split(REPO, "train", streaming=streaming)


def io_of(repo, path):
    import io

    return io.BytesIO(repo.head.files[path].content)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("org/ships", HubDataset("org/ships")),
        ("org/ships@v1", HubDataset("org/ships", "v1")),
        ("hub:org/ships@refs/pr/1", HubDataset("org/ships", "refs/pr/1")),
        ("ships", None),
        ("data/org/ships", None),
        ("here/ships", None),
        ("hub:here/ships", HubDataset("here/ships")),
        ("/tmp/ships", None),
        ("../ships", None),
    ],
)
def test_a_name_is_one_of_the_hub_or_of_a_folder(name, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert hub_dataset(name) == expected


def test_what_names_no_data_set_of_the_hub_is_refused():
    with pytest.raises(ValueError, match="hub:ships names no data set of the Hub"):
        hub_dataset("hub:ships")

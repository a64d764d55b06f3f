# SPDX-License-Identifier: Apache-2.0
"""A push takes the files of its folder, whole and as they were looked at, and nothing that lies elsewhere."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from safetensors.torch import load_file, save_file
from transformers.trainer_utils import HubStrategy, SaveStrategy

from geodit.hub_cards.card.examples import read_examples
from geodit.hub_cards.publish.file_checks import is_path_in_repo
from geodit.hub_cards.publish.file_selection import PublishedFile, published_files
from geodit.hub_cards.publish.hub_client import HubClient
from geodit.hub_cards.publish.push import push_files
from geodit.hub_cards.publish.run_folders import as_checkpoint
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.trainers.publishing import PublishingTrainer
from hub_server.faults import Altered
from hub_server.messages import Response

REPO = "org/geodit-test"


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "geodit-test"))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere"
    path.mkdir()
    for name in ("LICENSE", "a.json", "a.jsonl", "a.yaml", "a.jpg"):
        (path / name).write_text("private")
    return path


def refused(folder: Path, message: str) -> None:
    """Neither as it is nor as a run is the folder taken, and no message has what is in the file."""
    for push in (lambda: published_files(folder, repo_id=REPO), lambda: as_checkpoint(folder).__enter__()):
        with pytest.raises(ValueError, match=message) as error:
            push()
        assert "private" not in str(error.value)


class TestLinks:
    @pytest.mark.parametrize(
        ("name", "target"),
        [
            ("LICENSE", "LICENSE"),
            ("chat_template.jinja", "a.json"),
            ("recipe.yaml", "a.yaml"),
            ("training_log.jsonl", "a.jsonl"),
            ("training/a.yaml", "a.yaml"),
            ("training/a.jsonl", "a.jsonl"),
            ("results/a.json", "a.json"),
            ("results/other/a.json", "a.json"),
            ("assets/examples.json", "a.json"),
            ("assets/a.jpg", "a.jpg"),
            ("training", "."),
            ("results", "."),
            ("results/other", "."),
            ("model-00001-of-00001.safetensors", "a.json"),
        ],
    )
    def test_one_that_leads_out_of_the_folder_is_refused_by_name(self, folder, elsewhere, name, target):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to((elsewhere / target).resolve())
        refused(folder, f"{name} is a link that leads out of its folder")

    def test_the_place_that_it_names_last_counts(self, folder, elsewhere):
        (folder / "notes").symlink_to("../elsewhere")
        (folder / "LICENSE").symlink_to("notes/LICENSE")
        refused(folder, "LICENSE is a link that leads out of its folder")

    @pytest.mark.parametrize("target", ["nowhere", "LICENSE"])
    def test_one_to_nothing_or_to_itself_is_refused(self, folder, target):
        (folder / "LICENSE").symlink_to(target)
        refused(folder, "LICENSE cannot be read")

    def test_one_within_the_folder_is_a_file_of_it(self, folder):
        (folder / "notes").mkdir()
        (folder / "notes" / "LICENSE").write_text("mine")
        (folder / "LICENSE").symlink_to("notes/LICENSE")
        (folder / "recipe.yaml").write_text("num_scenes: 2\n")
        with as_checkpoint(folder) as view:
            files = {file.path_in_repo: file.content for file in published_files(view, repo_id=REPO, origin=folder)}
            assert files["LICENSE"].read_text() == "mine"
            with pytest.raises(ValueError, match="leads out of its folder"):
                published_files(view, repo_id=REPO)

    def test_what_is_not_published_may_be_one(self, folder, elsewhere):
        (folder / "data").symlink_to(elsewhere)
        (folder / "optimizer.pt").symlink_to(elsewhere / "LICENSE")
        names = {file.path_in_repo for file in published_files(folder, repo_id=REPO)}
        assert not {name for name in names if name.startswith(("data", "optimizer"))}

    def test_a_snapshot_of_the_cache_is_a_folder_like_any(self, folder, elsewhere, tmp_path):
        expected = [file.path_in_repo for file in published_files(folder, repo_id=REPO)]
        repository = tmp_path / "models--org--geodit"
        snapshot = repository / "snapshots" / "0123"
        snapshot.mkdir(parents=True)
        (repository / "blobs").mkdir()
        for number, path in enumerate(sorted(folder.iterdir())):
            shutil.copyfile(path, repository / "blobs" / str(number))
            (snapshot / path.name).symlink_to(f"../../blobs/{number}")
        assert [file.path_in_repo for file in published_files(snapshot, repo_id=REPO)] == expected
        (snapshot / "LICENSE").symlink_to(elsewhere / "LICENSE")
        refused(snapshot, "LICENSE is a link that leads out of its folder")

    def test_a_snapshot_whose_blobs_are_elsewhere_is_none(self, folder, elsewhere, tmp_path):
        snapshot = tmp_path / "models--org--geodit" / "snapshots" / "0123"
        shutil.copytree(folder, snapshot)
        (tmp_path / "models--org--geodit" / "blobs").symlink_to(elsewhere)
        (snapshot / "LICENSE").symlink_to("../../blobs/LICENSE")
        refused(snapshot, "LICENSE is a link that leads out of its folder")

    def test_while_training_one_is_no_reason_to_stop(self, folder, elsewhere, tmp_path):
        (folder / "LICENSE").symlink_to(elsewhere / "LICENSE")
        trainer = object.__new__(PublishingTrainer)
        trainer.args = SimpleNamespace(
            output_dir=str(tmp_path / "run"),
            hub_strategy=HubStrategy.EVERY_SAVE,
            hub_always_push=False,
            save_strategy=SaveStrategy.STEPS,
            hub_revision=None,
        )
        trainer._staging, trainer.push_in_progress, trainer.hub_model_id = None, None, REPO
        trainer.state, trainer.control = SimpleNamespace(global_step=3), None
        trainer.callback_handler = SimpleNamespace(on_push_begin=lambda *_: None)
        trainer.is_world_process_zero = lambda: True
        trainer._push_from_checkpoint(str(folder))
        assert trainer.push_in_progress is None
        with pytest.raises(ValueError, match="LICENSE is a link that leads out of its folder"):
            trainer._snapshot(folder)


class TestNoFiles:
    @pytest.mark.parametrize("name", ["LICENSE", "training/a.yaml", "results/a.json", "assets/a.jpg", "recipe.yaml"])
    def test_a_pipe_is_refused_by_name_and_not_waited_for(self, folder, name):
        (folder / name).parent.mkdir(exist_ok=True)
        os.mkfifo(folder / name)
        refused(folder, f"{name} is a named pipe")

    def test_a_device_is_refused_by_name(self, folder, tmp_path):
        (folder / "LICENSE").symlink_to("/dev/zero")
        refused(folder, "LICENSE is a link that leads out of its folder")

    @pytest.mark.parametrize("picture", ["../elsewhere/a.jpg", "/etc/hostname", "assets/../a.jpg", "assets/a\nb.jpg"])
    def test_a_picture_of_an_example_is_one_of_the_folder(self, folder, elsewhere, picture):
        (folder / "assets").mkdir()
        (folder / "assets" / "a\nb.jpg").write_bytes(b"0")
        example = dict.fromkeys(("scene", "task", "query", "answer", "truth"), "x") | {"picture": picture}
        (folder / "assets" / "examples.json").write_text(json.dumps({"examples": [example]}))
        with pytest.raises(ValueError, match=r"picture is no file in assets|is no name that a file"):
            published_files(folder, repo_id=REPO)
        if "\n" not in picture:
            with pytest.raises(ValueError, match="is no file in assets"):
                read_examples(folder)


class TestPaths:
    @pytest.mark.parametrize("path", ["a", "a/b.json", ".eval_results/a.yaml", "a..b", "a b"])
    def test_of_files_of_a_repository(self, path):
        assert is_path_in_repo(path)

    @pytest.mark.parametrize(
        "path", ["", ".", "..", "../a", "a/../b", "/a", "a//b", "./a", "a/", "C:/a", "a\\b", "a\nb", "\x00", None, 3]
    )
    def test_of_others(self, path):
        assert not is_path_in_repo(path)

    def test_a_benchmark_does_not_choose_a_folder(self, folder):
        results = Path(__file__).parents[2] / "tiny" / "geodit-tiny" / "results"
        (folder / "results").mkdir()
        document = json.loads(next(path for path in sorted(results.glob("*.json"))).read_text())
        settings = json.loads((results.parent / "generation_config.json").read_text())
        (folder / "generation_config.json").write_text(json.dumps(settings))
        document["benchmark"] = "../../a"
        (folder / "results" / "a.json").write_text(json.dumps(document))
        (folder / "results" / "benchmarks.yaml").write_text(yaml.safe_dump({"../../a": "org/data"}))
        with pytest.raises(ValueError, match="is no name that a file of a repository can have"):
            published_files(folder, repo_id=REPO)


def shard(folder: Path) -> list[str]:
    """Saves the model of a folder in several files, and gives their names."""
    model = GeoDiTForMaskedDiffusion.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    return sorted(path.name for path in folder.glob("*.safetensors"))


class TestBrokenWeights:
    @pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"\0"])
    def test_a_file_that_is_cut_short_or_too_long_is_refused(self, folder, change):
        for name in ("model.safetensors", None):
            path = folder / (name or shard(folder)[-1])
            whole = path.read_bytes()
            path.write_bytes(change(whole))
            with pytest.raises(ValueError, match=rf"{path.name} is not a readable safetensors file"):
                published_files(folder, repo_id=REPO)
            path.write_bytes(whole)

    def test_a_header_that_lies_is_refused(self, folder):
        (folder / "model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")
        with pytest.raises(ValueError, match=r"weights in .* cannot be read"):
            published_files(folder, repo_id=REPO)

    def test_shards_and_index_have_to_agree(self, folder):
        names = shard(folder)
        index = folder / "model.safetensors.index.json"
        document = json.loads(index.read_text())
        first = {name: file for name, file in document["weight_map"].items() if file == names[0]}
        index.write_text(json.dumps({**document, "weight_map": first}))
        with pytest.raises(ValueError, match="missing"):
            published_files(folder, repo_id=REPO)
        index.write_text(json.dumps({**document, "weight_map": {**document["weight_map"], "extra": names[0]}}))
        with pytest.raises(ValueError, match="extra: in the index, but in no file"):
            published_files(folder, repo_id=REPO)
        index.write_text(json.dumps(document))
        (folder / names[-1]).unlink()
        with pytest.raises(ValueError, match=f"{names[-1]}"):
            published_files(folder, repo_id=REPO)

    @pytest.mark.parametrize("name", ["weights.bin", "../x.safetensors", "/tmp/x.safetensors", "a\\b.safetensors"])
    def test_an_index_names_safetensors_files_of_its_folder(self, folder, name):
        shard(folder)
        index = folder / "model.safetensors.index.json"
        document = json.loads(index.read_text())
        document["weight_map"] = dict.fromkeys(document["weight_map"], name)
        index.write_text(json.dumps(document))
        (folder / "weights.bin").write_bytes(b"0")
        with pytest.raises(ValueError, match=r"which is no \.safetensors file of its folder"):
            published_files(folder, repo_id=REPO)

    def test_tensors_have_to_be_those_of_the_configuration(self, folder):
        path = folder / "model.safetensors"
        tensors = load_file(path)
        name, tensor = tensors.popitem()
        save_file(tensors, path, metadata={"format": "pt"})
        with pytest.raises(ValueError, match=f"{name}: missing"):
            published_files(folder, repo_id=REPO)
        save_file({**tensors, name: tensor.flatten()[:1].clone()}, path, metadata={"format": "pt"})
        with pytest.raises(ValueError, match=f"{name}: shape"):
            published_files(folder, repo_id=REPO)

    def test_an_index_of_an_earlier_save_is_passed_over(self, folder):
        single = (folder / "model.safetensors").read_bytes()
        for name in shard(folder):
            (folder / name).unlink()
        (folder / "model.safetensors").write_bytes(single)
        names = [file.path_in_repo for file in published_files(folder, repo_id=REPO)]
        assert [name for name in names if "safetensors" in name] == ["model.safetensors"]

    def test_an_adapter_that_is_cut_short_is_refused(self, tmp_path):
        import torch

        path = tmp_path / "adapter_model.safetensors"
        settings = {"peft_type": "LORA", "base_model_name_or_path": "org/base"}
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
        save_file({"lora_A": torch.zeros(8)}, path)
        assert "adapter_model.safetensors" in [file.path_in_repo for file in published_files(tmp_path, repo_id=REPO)]
        path.write_bytes(path.read_bytes()[:-4])
        with pytest.raises(ValueError, match=r"adapter_model\.safetensors is not a readable safetensors file"):
            published_files(tmp_path, repo_id=REPO)


class TestChanges:
    @pytest.mark.parametrize("operation", ["preupload", "lfs_upload", "tree"])
    def test_a_file_that_changes_meanwhile_is_not_committed(self, hub, tmp_path, operation):
        path = tmp_path / "model.safetensors"
        path.write_bytes(b"\2\0\0\0\0\0\0\0{}")
        (tmp_path / "LICENSE").write_text("mine")
        files = [PublishedFile("model.safetensors", path), PublishedFile("LICENSE", tmp_path / "LICENSE")]
        changed = path if operation == "preupload" else tmp_path / "LICENSE"

        def change(response: Response) -> Response:
            changed.write_bytes(changed.read_bytes() + b"more")
            return response

        hub.fail(operation, Altered(change))
        with pytest.raises(ValueError, match=f"{changed.name} changed while it was pushed, and nothing was committed"):
            push_files(files, REPO, client=HubClient(hub.tokens.write, endpoint=hub.endpoint))
        assert hub.requested("commit") == []

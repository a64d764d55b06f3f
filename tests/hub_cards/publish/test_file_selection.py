# SPDX-License-Identifier: Apache-2.0
"""What of a folder belongs in a repository: all that is needed, and nothing that is private."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, metadata_load
from safetensors.torch import load_file

from geodit.configuration.remote_code_geodit import CODE_FILES
from geodit.hub_cards.publish.file_selection import PublishedFile, published_files
from geodit.hub_cards.publish.remote_code import remove_remote_code
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.weights.bundled import bundled_checkpoint

REPO = "org/geodit-test"


def contents(folder, **options):
    """The bytes of each file by its path in the repository."""
    files = published_files(folder, repo_id=REPO, **options)
    return {
        file.path_in_repo: file.content if isinstance(file.content, bytes) else file.content.read_bytes()
        for file in files
    }


@pytest.fixture(scope="module")
def published(documented):
    """What is published of the documented checkpoint."""
    return contents(documented)


def snapshot(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_repository_has_all_that_loads_describes_and_measures_a_checkpoint(published):
    names = set(published)
    assert {"config.json", "generation_config.json", "model.safetensors", "README.md"} <= names
    assert {"processor_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= names
    assert set(CODE_FILES) <= names
    assert {f"training/{stage}.{end}" for stage in ("text", "stage2") for end in ("yaml", "jsonl")} <= names
    assert {"results/synthetic.json", "assets/training.png"} <= names


def test_the_folder_stays_as_it_is_and_gives_the_same_files_in_order(documented, published):
    before = snapshot(documented)
    again = contents(documented)
    assert snapshot(documented) == before
    assert again == published
    assert list(again) == sorted(again)


def test_sizes_are_those_of_the_contents(bare):
    for file in published_files(bare, repo_id=REPO):
        assert file.size == len(file.content if isinstance(file.content, bytes) else file.content.read_bytes())
    assert PublishedFile("a", b"four").size == 4


def test_code_is_made_in_memory_where_the_folder_lacks_it(bare):
    with_code = contents(bare)
    remove_remote_code(bare)
    without = contents(bare)
    assert not any((bare / name).exists() for name in CODE_FILES)
    assert without == with_code
    assert "auto_map" in json.loads(without["config.json"])


def test_code_that_lacks_a_file_is_made_whole(bare):
    expected = contents(bare)
    (bare / CODE_FILES[3]).unlink()
    assert contents(bare) == expected


def test_the_checksums_in_the_card_are_those_of_what_is_published(bare):
    remove_remote_code(bare)
    published = contents(bare)
    card = published["README.md"].decode()
    for name in CODE_FILES:
        assert f"| `{name}` | `{hashlib.sha256(published[name]).hexdigest()}` |" in card


def test_the_card_is_for_the_repository_and_of_it(documented):
    published = contents(documented, license="mit", base_model="org/base", datasets=["org/data"], tags=["x"])
    card = ModelCard(published["README.md"].decode())
    assert f'from_pretrained("{REPO}")' in card.text
    assert card.data.license == "mit"
    assert (card.data.base_model, card.data.datasets) == ("org/base", ["org/data"])
    assert f"# {REPO.partition('/')[2]}" in card.text


def test_only_the_shards_of_the_index_are_weights(bare):
    model = GeoDiTForMaskedDiffusion.from_pretrained(bare)
    (bare / "model.safetensors").unlink()
    model.save_pretrained(bare, max_shard_size="100KB")
    (bare / "model-00001-of-00099.safetensors").write_bytes(b"of an earlier save")
    published = contents(bare)
    shards = {name for name in published if name.endswith(".safetensors")}
    index = json.loads(published["model.safetensors.index.json"])
    assert shards == set(index["weight_map"].values())
    assert len(shards) > 1


@pytest.mark.parametrize("name", ["model-00009-of-00009.safetensors", "../model.safetensors"])
def test_a_shard_that_is_missing_or_elsewhere_is_refused(bare, name):
    (bare / "model.safetensors").rename(bare.parent / "model.safetensors")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": name}}
    (bare / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"cannot be read|is no \.safetensors file of its folder"):
        published_files(bare, repo_id=REPO)


class TestPrivate:
    """Paths of who trained, secrets, and what only a run needs."""

    LEFT_BEHIND = {
        *("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "pytorch_model.bin", "scaler.pt"),
        *("checkpoint-5/model.safetensors", "checkpoint-5/config.json", ".partial/model.safetensors"),
        *("trainer_state.json", "events.out.tfevents.1", "token", ".env", "emissions.csv", "evil.py", "notes.txt"),
        *("training/stage2.emissions.csv", "results/table.csv", "assets/private.png", "samples/step-1/a.png"),
    }

    def test_what_a_run_leaves_behind_stays_behind(self, folder):
        for name in self.LEFT_BEHIND:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("latitude,emissions,energy_consumed\n1,1,1\n" if name.endswith("emissions.csv") else "{}")
        assert not self.LEFT_BEHIND & set(contents(folder))

    def test_no_file_tells_of_the_folders_of_who_trained(self, folder):
        for path, fields in {
            "assembly.json": {"sources": {"text": "/home/alice/llada"}, "num_parameters": 5},
            "training/more.yaml": {"datasets": ["rsicd=/home/alice/RSICD"], "output_dir": "/home/alice/out"},
        }.items():
            (folder / path).write_text(yaml.safe_dump(fields) if path.endswith("yaml") else json.dumps(fields))
        for name, field in {"config.json": "_name_or_path", "tokenizer_config.json": "name_or_path"}.items():
            settings = json.loads((folder / name).read_text())
            (folder / name).write_text(json.dumps({**settings, field: "/home/alice/x"}))
        published = contents(folder)
        assert [name for name, content in published.items() if b"alice" in content] == []
        assert yaml.safe_load(published["training/more.yaml"])["datasets"] == ["rsicd=PATH"]
        assert json.loads(published["results/synthetic.json"])["command"][3] == "stage2"

    def test_records_without_paths_are_published_as_they_are(self):
        folder = Path(bundled_checkpoint())
        files = {file.path_in_repo: file.content for file in published_files(folder, repo_id=REPO)}
        for path in [*(folder / "training").iterdir(), *(folder / "results").iterdir()]:
            assert files[path.relative_to(folder).as_posix()] == path

    @pytest.mark.parametrize(
        "name", ["training/stage2.yaml", "training/stage2.jsonl", "results/synthetic.json", "tokenizer_config.json"]
    )
    def test_a_token_in_a_file_stops_everything_and_is_not_repeated(self, folder, name):
        token = "hf_" + "aB3" * 12
        path = folder / name
        if name.endswith(".yaml"):
            path.write_text(f"{path.read_text()}note: {token}\n")
        elif name.endswith(".jsonl"):
            path.write_text(f'{path.read_text()}{{"note": "{token}"}}\n')
        else:
            path.write_text(json.dumps(json.loads(path.read_text()) | {"note": token}))
        with pytest.raises(ValueError, match="looks like a token of the Hub") as error:
            published_files(folder, repo_id=REPO)
        assert name in str(error.value)
        assert token not in str(error.value)

    def test_a_token_that_a_recipe_names_is_left_out(self, folder):
        path = folder / "training" / "stage2.yaml"
        path.write_text(f"{path.read_text()}hub_token: hf_{'x' * 30}\n")
        assert b"hf_" not in contents(folder)["training/stage2.yaml"]


def test_results_on_a_published_benchmark_have_their_files(folder):
    (folder / "results" / "benchmarks.yaml").write_text("synthetic: org/scenes\n")
    published = contents(folder)
    entries = yaml.safe_load(published[".eval_results/synthetic.yaml"])
    assert {entry["dataset"]["id"] for entry in entries} == {"org/scenes"}
    assert {entry["source"]["url"] for entry in entries} == {
        f"https://huggingface.co/{REPO}/blob/main/results/synthetic.json"
    }
    assert "results/benchmarks.yaml" in published


class TestAdapter:
    def test_an_adapter_comes_with_its_processor_and_without_its_base(self, adapter):
        published = contents(adapter)
        assert {"adapter_config.json", "adapter_model.safetensors", "processor_config.json"} <= set(published)
        assert set(CODE_FILES) <= set(published)  # of the processor
        assert not {"config.json", "model.safetensors"} & set(published)
        assert "An adapter (LORA)" in published["README.md"].decode()

    def test_the_folder_of_its_base_is_not_told(self, adapter, checkpoint):
        published = contents(adapter)
        assert json.loads(published["adapter_config.json"])["base_model_name_or_path"] == checkpoint.name
        assert not any(str(checkpoint.parent).encode() in content for content in published.values())

    def test_without_a_processor_it_needs_no_code(self, adapter):
        (adapter / "processor_config.json").unlink()
        assert not set(CODE_FILES) & set(contents(adapter))

    def test_without_weights_there_is_nothing_to_publish(self, adapter):
        (adapter / "adapter_model.safetensors").unlink()
        with pytest.raises(ValueError, match="has no weights to publish"):
            published_files(adapter, repo_id=REPO)


def test_the_published_files_are_a_checkpoint_again(documented, published, tmp_path):
    for name, content in published.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    loaded = GeoDiTForMaskedDiffusion.from_pretrained(tmp_path)
    assert loaded.num_parameters() == sum(t.numel() for t in load_file(documented / "model.safetensors").values())
    assert metadata_load(tmp_path / "README.md")["license"] == "apache-2.0"
    assert contents(tmp_path) == published


@pytest.mark.parametrize("repo_id", ["a/b/c", "", "spaces in/it", "org/.git", None])
def test_a_name_that_is_no_hub_id_is_refused(bare, repo_id):
    with pytest.raises(ValueError, match=r"repo_id .* is no Hub id"):
        published_files(bare, repo_id=repo_id)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights to publish: model.safetensors"),
        (lambda folder: (folder / "config.json").unlink(), "is not a checkpoint: it has no config.json"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "llava"}'), "not 'geodit'"),
        (lambda folder: (folder / "processor_config.json").write_text("{"), "processor_config.json is not JSON"),
    ],
)
def test_another_folder_is_refused(bare, change, message):
    change(bare)
    with pytest.raises(ValueError, match=message):
        published_files(bare, repo_id=REPO)

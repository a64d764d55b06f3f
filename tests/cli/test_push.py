# SPDX-License-Identifier: Apache-2.0
"""`geodit push`, to the Hub of the tests."""

import json
import shutil
from importlib.metadata import PackageNotFoundError

import pytest
import yaml
from huggingface_hub import constants
from huggingface_hub.repocard import metadata_load

from geodit.cli.uploads import upload
from geodit.configuration.remote_code_geodit import CODE_FILES
from geodit.pipelines.image_pipeline import GeoDiTPipeline
from hub_server.faults import DropRequest, Status

REPO = "org/geodit-test"


@pytest.fixture(autouse=True)
def logged_in(default_hub, monkeypatch, tmp_path):
    """Someone is, who may write; nothing of the account that runs the tests is looked at."""
    monkeypatch.setenv("HF_TOKEN", default_hub.tokens.write)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))


def files_of(hub, revision="main", repo_id=REPO):
    files = hub.repos[repo_id].at(revision).files
    return {path: file.content for path, file in files.items() if path != ".gitattributes"}


def test_a_checkpoint_is_published(hub, geodit, checkpoint):
    result = geodit("push", checkpoint, "--repo", REPO, "--message", "Publish", "--license", "mit")
    assert result.exit_code == 0, result.output
    files = files_of(hub)
    assert {"README.md", "config.json", "model.safetensors", "processor_config.json", *CODE_FILES} <= set(files)
    assert files["model.safetensors"] == (checkpoint / "model.safetensors").read_bytes()
    size = sum(map(len, files.values()))
    assert (
        result.stdout
        == f"{len(files)} files ({size:,} bytes): {hub.endpoint}/{REPO}/commit/{hub.repos[REPO].head.sha}\n"
    )
    assert hub.repos[REPO].head.message == "Publish"
    assert b"license: mit" in files["README.md"]
    again = geodit("push", checkpoint, "--repo", REPO, "--license", "mit")
    assert again.stdout.startswith(f"{REPO} has all of these files already: ")
    assert len(hub.requested("commit")) == 1


def test_what_was_pushed_as_json(hub, geodit, checkpoint):
    document = json.loads(geodit("push", checkpoint, "--repo", REPO, "--private", "--json").stdout)
    assert document["repo"] == REPO
    assert document["commit"] == hub.repos[REPO].head.sha
    assert {file["path"]: file["bytes"] for file in document["files"]} == {
        path: len(content) for path, content in files_of(hub).items()
    }
    assert (document["pull_request"], document["removed"]) == (None, [])
    assert hub.repos[REPO].private


def test_a_dry_run_lists_every_file_and_shows_the_card(hub, geodit, checkpoint, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    arguments = ("push", checkpoint, "--repo", REPO, "--dry-run")
    document = json.loads(geodit(*arguments, "--json").stdout)
    shown = geodit(*arguments).stdout
    assert {"model.safetensors", *CODE_FILES} < {file["path"] for file in document["files"]}
    for file in document["files"]:
        (line,) = [line for line in shown.splitlines() if line.split("│")[1:2] and line.split()[1] == file["path"]]
        assert f"{file['bytes']:,}" in line
    assert f"{sum(file['bytes'] for file in document['files']):,}" in shown
    assert document["card"].startswith("---\n")
    assert document["card"] in shown
    assert f'"{REPO}"' in document["card"]
    assert hub.requests == []


def test_a_pull_request_and_a_branch(hub, geodit, checkpoint):
    geodit("push", checkpoint, "--repo", REPO)
    before = files_of(hub)
    opened = geodit("push", checkpoint, "--repo", REPO, "--create-pr", "--license", "mit")
    assert opened.stdout.endswith(f": {hub.endpoint}/{REPO}/discussions/1\n")
    branch = geodit("push", checkpoint, "--repo", REPO, "--revision", "next", "--license", "mit")
    assert branch.exit_code == 0, branch.output
    assert files_of(hub) == before
    assert files_of(hub, "refs/pr/1") == files_of(hub, "next")
    assert list(hub.repos[REPO].at("next").changes) == ["README.md"]


def test_a_template_bases_and_data_sets_of_the_users(hub, geodit, checkpoint, tmp_path):
    (tmp_path / "card.jinja").write_text("---\n{{ card_data }}\n---\n# Mine: {{ model_name }}\n")
    geodit(
        *("push", checkpoint, "--repo", REPO, "--template", tmp_path / "card.jinja"),
        *("--base-model", "org/one", "--base-model", "org/two", "--dataset", "org/scenes"),
    )
    card = files_of(hub)["README.md"].decode()
    assert card.rstrip().endswith("# Mine: geodit-test")
    (tmp_path / "README.md").write_text(card)
    metadata = metadata_load(tmp_path / "README.md")
    assert metadata["base_model"] == ["org/one", "org/two"]
    assert metadata["datasets"] == ["org/scenes"]


def test_the_folder_of_a_run_brings_its_recipe_and_those_of_the_stages_that_are_named(
    hub, geodit, checkpoint, tmp_path
):
    for name, base in (("stage1", None), ("stage2", tmp_path / "stage1")):
        shutil.copytree(checkpoint, tmp_path / name)
        recipe = {"output_dir": str(tmp_path / name), "learning_rate": 1e-3, "num_scenes": 8}
        recipe |= {"model_name_or_path": str(base)} if base else {"geometry": "config.json"}
        (tmp_path / name / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        log = {"step": 1, "loss": 2.5, "epoch": 1.0}
        (tmp_path / name / "training_log.jsonl").write_text(json.dumps(log) + "\n")
    (tmp_path / "stage2" / "checkpoint-1").mkdir()
    (tmp_path / "stage2" / "checkpoint-1" / "optimizer.pt").write_bytes(b"0")
    (tmp_path / "stage2" / "training_args.bin").write_bytes(b"0")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    result = geodit("push", tmp_path / "stage2", "--repo", REPO)
    assert result.exit_code == 0, result.output
    assert [path for path in files_of(hub) if path.startswith("training/")] == [
        "training/stage2.jsonl",
        "training/stage2.yaml",
    ]
    result = geodit("push", tmp_path / "stage2", "--repo", REPO, "--with-stage", tmp_path / "stage1")
    assert result.exit_code == 0, result.output
    card = files_of(hub)["README.md"].decode()
    assert "| argument | stage1 | stage2 |" in card
    assert str(tmp_path) not in card
    assert not [path for path in files_of(hub) if path.endswith((".pt", ".bin")) or "checkpoint-" in path]
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_an_adapter_is_published_and_answers_as_before(hub, geodit, checkpoint, adapter, image, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    geodit("push", checkpoint, "--repo", "org/base")
    mine = shutil.copytree(adapter, tmp_path / "lora")
    expected = GeoDiTPipeline.from_pretrained(checkpoint, adapter=mine)(str(image), task="detect", query="ship")
    plain = GeoDiTPipeline.from_pretrained(checkpoint)(str(image), task="detect", query="ship")
    assert expected[0].text != plain[0].text
    config = json.loads((mine / "adapter_config.json").read_text())
    (mine / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "org/base"}))
    result = geodit("push", mine, "--adapter", "--repo", "org/lora")
    assert result.exit_code == 0, result.output
    files = files_of(hub, repo_id="org/lora")
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors"} <= set(files)
    assert not {"config.json", "model.safetensors"} & set(files)
    (tmp_path / "README.md").write_bytes(files["README.md"])
    assert metadata_load(tmp_path / "README.md")["base_model"] == "org/base"
    loaded = GeoDiTPipeline.from_pretrained(adapter="org/lora")
    assert loaded(str(image), task="detect", query="ship") == expected


class TestErrors:
    def test_of_what_is_to_be_pushed(self, hub, geodit, checkpoint, adapter, tmp_path):
        repo = ("--repo", REPO)
        assert "there is no directory missing" in geodit.fails("push", "./missing", *repo).replace("./", "")
        assert "it has no config.json" in geodit.fails("push", tmp_path, *repo)
        assert "is an adapter: push it with --adapter" in geodit.fails("push", adapter, *repo)
        assert "is not an adapter" in geodit.fails("push", checkpoint, "--adapter", *repo)
        assert "--repo takes the form owner/name" in geodit.fails("push", checkpoint, "--repo", "geodit")
        assert "there is no template" in geodit.fails("push", checkpoint, *repo, "--template", "none", "--dry-run")
        assert hub.requests == []

    def test_of_tokens(self, hub, geodit, checkpoint, monkeypatch, tmp_path):
        monkeypatch.delenv("HF_TOKEN")
        push = ("push", checkpoint, "--repo", REPO)
        assert "there is no token of the Hub: log in by `hf auth login`" in geodit.fails(*push)
        for who, message in (("wrong", "does not accept the token"), ("read", "can only read")):
            (tmp_path / "token").write_text(f"{getattr(hub.tokens, who)}\n")
            error = geodit.fails(*push, "--token-file", tmp_path / "token")
            assert message in error
            assert getattr(hub.tokens, who) not in error
        (tmp_path / "token").write_text(" \n")
        assert "is empty" in geodit.fails(*push, "--token-file", tmp_path / "token")
        assert "cannot be read" in geodit.fails(*push, "--token-file", tmp_path / "nowhere")
        assert not hub.repos

    def test_no_access_is_bad_input(self, hub, geodit, checkpoint, monkeypatch):
        monkeypatch.setenv("HF_TOKEN", hub.tokens.stranger)
        assert "no permission" in geodit.fails("push", checkpoint, "--repo", REPO)

    @pytest.mark.parametrize("fault", [Status(503), DropRequest()], ids=repr)
    def test_a_hub_that_stays_away_is_a_failure(self, hub, geodit, checkpoint, no_waiting, fault):
        hub.fail("commit", fault, times=9)
        result = geodit("push", checkpoint, "--repo", REPO)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("geodit: error: ")
        assert result.stderr.count("\n") == 1
        assert files_of(hub) == {}

    def test_with_debug_no_token_is_shown(self, hub, geodit, checkpoint, no_waiting):
        hub.fail("commit", Status(403))
        result = geodit("--debug", "push", checkpoint, "--repo", REPO)
        assert result.stderr.splitlines()[-1].startswith("PermissionError: ")
        assert hub.tokens.write not in result.output


def test_a_token_file_takes_precedence(hub, geodit, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", hub.tokens.wrong)
    (tmp_path / "token").write_text(hub.tokens.write + "\n")
    assert geodit("push", checkpoint, "--repo", REPO, "--token-file", tmp_path / "token").exit_code == 0
    assert files_of(hub)


class TestSpace:
    SPACE = "org/try-geodit"

    @pytest.fixture(autouse=True)
    def with_gradio(self):
        pytest.importorskip("gradio")

    def space_of(self, hub):
        return hub.repos[f"spaces/{self.SPACE}"]

    def files_of_space(self, hub):
        return files_of(hub, repo_id=f"spaces/{self.SPACE}")

    def test_it_shows_the_commit_of_the_model_that_was_pushed(self, hub, geodit, checkpoint):
        result = geodit("push", checkpoint, "--repo", REPO, "--space", self.SPACE, "--license", "mit")
        assert result.exit_code == 0, result.output
        head = hub.repos[REPO].head.sha
        files = self.files_of_space(hub)
        assert f"revision={head!r}" in files["app.py"].decode()
        assert b"license: mit\n" in files["README.md"]
        assert not [path for path in files if path.endswith(".safetensors")]
        assert result.stdout.splitlines()[1].endswith(
            f"{hub.endpoint}/spaces/{self.SPACE}/commit/{self.space_of(hub).head.sha}"
        )
        assert len(hub.requested("commit")) == 2  # one for each repository

    def test_without_a_model_on_the_hub_it_holds_the_weights(self, hub, geodit, checkpoint):
        result = geodit("push", checkpoint, "--space", self.SPACE)
        assert result.exit_code == 0, result.output
        files = self.files_of_space(hub)
        assert files["model/model.safetensors"] == (checkpoint / "model.safetensors").read_bytes()
        assert files["app.py"].decode().endswith("run('model', name='try-geodit')\n")
        assert REPO not in hub.repos
        assert len(hub.requested("commit")) == 1
        again = geodit("push", checkpoint, "--space", self.SPACE)
        assert again.stdout.startswith(f"{self.SPACE} has all of these files already: ")

    def test_weights_go_when_another_repository_has_them(self, hub, geodit, checkpoint):
        geodit("push", checkpoint, "--space", self.SPACE)
        result = geodit("push", checkpoint, "--repo", REPO, "--space", self.SPACE)
        assert result.exit_code == 0, result.output
        assert not [path for path in self.files_of_space(hub) if path.startswith("model/")]
        assert len(hub.requested("commit")) == 3  # two for the Space

    def test_what_the_page_needs_is_looked_for_before_anything_is_pushed(self, hub, geodit, checkpoint, monkeypatch):
        def missing(name):
            raise PackageNotFoundError(name)

        monkeypatch.setattr("geodit.app.space_files.version", missing)
        said = geodit.fails("push", checkpoint, "--repo", REPO, "--space", self.SPACE)
        assert "is not installed: pip install 'geodit[app]'" in said
        assert hub.requests == []

    @pytest.mark.parametrize("as_json", [False, True])
    def test_the_model_is_told_where_the_space_fails(self, hub, geodit, checkpoint, monkeypatch, as_json):
        def failing(files, repo, *arguments, **options):
            if repo == self.SPACE:
                raise ValueError("no more")
            return upload(files, repo, *arguments, **options)

        monkeypatch.setattr("geodit.cli.push.upload", failing)
        result = geodit("push", checkpoint, "--repo", REPO, "--space", self.SPACE, *(["--json"] if as_json else []))
        assert result.exit_code != 0
        head = hub.repos[REPO].head.sha
        if as_json:
            assert json.loads(result.stdout)["model"]["commit"] == head
        else:
            assert head in result.stdout

    def test_a_private_model_needs_a_secret(self, geodit, checkpoint):
        result = geodit("push", checkpoint, "--repo", REPO, "--space", self.SPACE, "--private")
        assert f"{self.SPACE} cannot load a private {REPO} without the secret HF_TOKEN" in result.stderr

    def test_a_dry_run_of_both(self, hub, geodit, checkpoint):
        arguments = ("push", checkpoint, "--repo", REPO, "--space", self.SPACE, "--dry-run")
        document = json.loads(geodit(*arguments, "--json").stdout)
        assert [(name, document[name]["repo"]) for name in ("model", "space")] == [
            ("model", REPO),
            ("space", self.SPACE),
        ]
        shown = geodit(*arguments).stdout
        assert f"would be in {REPO}" in shown
        assert f"would be in {self.SPACE}" in shown
        assert hub.requests == []

    def test_as_json(self, hub, geodit, checkpoint):
        document = json.loads(geodit("push", checkpoint, "--repo", REPO, "--space", self.SPACE, "--json").stdout)
        assert document["model"]["repo"] == REPO
        assert document["space"]["commit"] == self.space_of(hub).head.sha

    def test_a_dry_run(self, hub, geodit, checkpoint):
        document = json.loads(geodit("push", checkpoint, "--space", self.SPACE, "--dry-run", "--json").stdout)
        assert {"app.py", "requirements.txt", "model/model.safetensors"} <= {
            file["path"] for file in document["files"]
        }
        assert "sdk: gradio\n" in document["card"]
        assert hub.requests == []

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "give --repo, --space or both"),
            (("--space", "try-geodit"), "--space takes the form owner/name, got 'try-geodit'"),
            (("--space", SPACE, "--create-pr"), "--space shows a whole checkpoint of the main branch"),
            (("--space", SPACE, "--revision", "next"), "--space shows a whole checkpoint of the main branch"),
        ],
    )
    def test_what_does_not_fit(self, geodit, checkpoint, arguments, said):
        assert said in geodit.fails("push", checkpoint, *arguments)

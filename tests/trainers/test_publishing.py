# SPDX-License-Identifier: Apache-2.0
"""GeoDiTTrainer(push_to_hub=True): the repository holds what `geodit push` puts there, at the end and on the way."""

import json
import logging
import pickle
import shutil

import pytest
import yaml
from huggingface_hub import ModelCard, constants
from peft import LoraConfig
from transformers import TrainerCallback

from geodit.configuration.remote_code_geodit import CODE_FILES
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.trainers.publishing import SNAPSHOTS
from geodit.trainers.resilience.checkpoint_guard import find_damage
from geodit.trainers.runs.recipes import parse_recipe
from geodit.trainers.training_arguments import GeoDiTTrainingArguments
from hub_server.faults import Slow, Status

REPO = "org/geodit-trees"
CHECKPOINTS = {"save_strategy": "steps", "save_steps": 1, "logging_steps": 1}


@pytest.fixture(autouse=True)
def hub(default_hub, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_TOKEN", default_hub.tokens.write)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    return default_hub


@pytest.fixture
def publishing(make_trainer, model_and_processor, items, tmp_path):
    """Builds the Trainer of a run that is published."""

    def build(**arguments):
        settings = {"push_to_hub": True, "hub_model_id": REPO, "hub_always_push": True, **arguments}
        return make_trainer(*model_and_processor, items, tmp_path / "trees", **settings)

    return build


def files_of(hub, revision="main", repo_id=REPO):
    files = hub.repos[repo_id].at(revision).files
    return {path: file.content for path, file in files.items() if path != ".gitattributes"}


def messages(hub):
    return [commit.message for commit in reversed(hub.repos[REPO].history())]


class TestAtTheEnd:
    def test_the_model_is_pushed_with_its_card_in_one_commit(self, hub, publishing, tmp_path):
        trainer = publishing(hub_strategy="end", logging_steps=1)
        trainer.train()
        assert messages(hub) == ["initial commit"]
        trainer.save_model()
        assert messages(hub) == ["initial commit", "Model save"]
        files = files_of(hub)
        folder = tmp_path / "trees"
        assert files["model.safetensors"] == (folder / "model.safetensors").read_bytes()
        assert {"config.json", "generation_config.json", "processor_config.json", *CODE_FILES} <= set(files)
        assert not [path for path in files if path.endswith((".bin", ".pt"))]
        card = ModelCard(files["README.md"].decode())
        card.validate()
        assert card.data.library_name == "transformers"
        assert f"{trainer.model.num_parameters():,} parameters" in card.text
        (loss,) = [entry["loss"] for entry in trainer.state.log_history if entry.get("step") == 2 and "loss" in entry]
        assert f"{loss:.4g}" in card.text
        assert "| `learning_rate` | 1e-05 |" in card.text
        assert str(tmp_path) not in card.text
        assert not (folder / SNAPSHOTS).exists()

    def test_pushed_again_there_is_no_commit(self, hub, publishing):
        trainer = publishing(hub_strategy="end")
        trainer.train()
        commit = trainer.push_to_hub()
        assert commit.oid == hub.repos[REPO].head.sha
        assert trainer.push_to_hub(blocking=False).result().oid == commit.oid
        assert messages(hub) == ["initial commit", "End of training"]

    def test_what_a_card_says_can_be_given(self, hub, publishing):
        trainer = publishing(hub_strategy="end")
        told = {"license": "mit", "tags": "harbors", "finetuned_from": "org/base", "dataset": "org/scenes"}
        trainer.push_to_hub("Publish", revision="next", model_name="Trees", **told)
        metadata = ModelCard(files_of(hub, "next")["README.md"].decode()).data
        assert (metadata.license, metadata.base_model, metadata.datasets) == ("mit", "org/base", ["org/scenes"])
        assert "harbors" in metadata.tags
        assert b"# Trees\n" in files_of(hub, "next")["README.md"]
        assert files_of(hub) == {}

    def test_the_card_alone_is_written_to_the_folder(self, hub, publishing, tmp_path):
        trainer = publishing(hub_strategy="end")
        trainer.train()
        trainer.save_model()
        trainer.create_model_card()
        assert (tmp_path / "trees" / "README.md").read_bytes() == files_of(hub)["README.md"]

    def test_a_recipe_is_told_in_place_of_the_arguments(self, hub, publishing):
        trainer = publishing(hub_strategy="end")
        trainer._recipe = {"num_scenes": 12345, "output_dir": "runs/trees"}
        trainer.train()
        trainer.save_model()
        assert b"| `num_scenes` | 12345 |" in files_of(hub)["README.md"]

    def test_pushed_by_the_command_afterwards_nothing_has_changed(self, hub, publishing, geodit_push, tmp_path):
        trainer = publishing(hub_strategy="end")
        recipe = trainer._recipe = {"num_scenes": 12345, "output_dir": "runs/trees"}
        trainer.train()
        trainer.save_model()
        folder = tmp_path / "trees"
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
        log = [json.dumps(entry) + "\n" for entry in trainer.state.log_history]
        (folder / "training_log.jsonl").write_text("".join(log))
        assert "has all of these files already" in geodit_push(folder, REPO)

    def test_an_adapter_is_pushed_as_one(self, hub, base, where_to_train, items, tmp_path):
        from geodit.processing.processing_geodit import GeoDiTProcessor
        from geodit.trainers.data_collator import GeoDiTDataCollator
        from geodit.trainers.trainer import GeoDiTTrainer

        processor = GeoDiTProcessor.from_pretrained(base)
        model = GeoDiTForMaskedDiffusion.from_pretrained(base)
        model.name_or_path = "org/base"  # where it would have been loaded from
        trainer = GeoDiTTrainer(
            model=model,
            args=GeoDiTTrainingArguments(
                output_dir=str(tmp_path / "lora"),
                **where_to_train,
                report_to="none",
                max_steps=1,
                save_strategy="no",
                push_to_hub=True,
                hub_model_id="org/lora",
            ),
            peft_config=LoraConfig(r=2),
            data_collator=GeoDiTDataCollator(processor),
            processing_class=processor,
            train_dataset=items,
        )
        trainer.train()
        trainer.save_model()
        files = files_of(hub, repo_id="org/lora")
        assert {"README.md", "adapter_config.json", "adapter_model.safetensors", "processor_config.json"} <= set(files)
        assert not {"model.safetensors", "training_args.bin"} & set(files)
        assert ModelCard(files["README.md"].decode()).data.base_model == "org/base"


@pytest.fixture
def geodit_push():
    """Pushes a folder by the command, and gives what it says."""
    from typer.testing import CliRunner

    from geodit.cli.main import app

    return lambda folder, repo: CliRunner().invoke(app, ["push", str(folder), "--repo", repo]).output


class TestOnTheWay:
    def test_every_checkpoint_is_pushed(self, hub, publishing, tmp_path):
        trainer = publishing(hub_strategy="every_save", **CHECKPOINTS)
        trainer.train()
        assert messages(hub) == ["initial commit", "Training in progress, step 1", "Training in progress, step 2"]
        files = files_of(hub)
        assert files["model.safetensors"] == (tmp_path / "trees" / "checkpoint-2" / "model.safetensors").read_bytes()
        assert {"README.md", "processor_config.json", *CODE_FILES} <= set(files)
        assert not [path for path in files if path.endswith((".bin", ".pt"))]
        first, second = (commit.files["README.md"].content for commit in reversed(hub.repos[REPO].history()[:2]))
        assert first != second  # the second has one more loss
        # The output folder has no half of a checkpoint in it.
        assert {path.name for path in (tmp_path / "trees").iterdir()} == {"checkpoint-1", "checkpoint-2"}

    @pytest.mark.parametrize(
        ("strategy", "folders"),
        [("checkpoint", ["last-checkpoint"]), ("all_checkpoints", ["checkpoint-1", "checkpoint-2"])],
    )
    def test_training_can_go_on_from_the_hub(self, hub, publishing, tmp_path, strategy, folders):
        publishing(hub_strategy=strategy, **CHECKPOINTS).train()
        assert len(messages(hub)) == 3
        files = files_of(hub)
        found = {path.partition("/")[0] for path in files if "checkpoint" in path.partition("/")[0]}
        assert found == set(folders)
        resumed = tmp_path / "downloaded" / folders[-1]
        resumed.mkdir(parents=True)
        for path, content in files.items():
            if path.startswith(f"{folders[-1]}/"):
                (resumed / path.partition("/")[2]).write_bytes(content)
        assert not (resumed / "training_args.bin").exists()
        assert find_damage(resumed) is None
        shutil.rmtree(tmp_path / "trees")  # another machine
        trainer = publishing(hub_strategy="end", max_steps=3)
        trainer.train(resume_from_checkpoint=str(resumed))
        assert trainer.state.global_step == 3

    def test_training_does_not_wait_and_old_checkpoints_may_go(self, hub, publishing, tmp_path):
        """The first push is under way until the last update is done, and its checkpoint is gone by then."""
        fault = Slow()
        trainer = publishing(hub_strategy="every_save", save_total_limit=1, **CHECKPOINTS)
        first = {}
        hub.fail("preupload", fault)

        class Release(TrainerCallback):
            def on_save(self, args, state, control, **kwargs):
                if state.global_step == 1:
                    path = tmp_path / "trees" / "checkpoint-1" / "model.safetensors"
                    first["weights"] = path.read_bytes()

            def on_train_end(self, args, state, control, **kwargs):
                assert not (tmp_path / "trees" / "checkpoint-1").exists()
                fault.released.set()

        trainer.add_callback(Release)
        trainer.train()
        commits = {commit.message: commit for commit in hub.repos[REPO].history()}
        assert set(commits) == {"initial commit", "Training in progress, step 1", "Training in progress, step 2"}
        pushed = commits["Training in progress, step 1"].files["model.safetensors"].content
        assert pushed == first["weights"]
        assert not (tmp_path / "trees" / SNAPSHOTS).exists()

    def test_a_push_that_fails_is_a_warning_and_the_last_one_an_error(
        self, hub, publishing, tmp_path, caplog, monkeypatch
    ):
        trainer = publishing(hub_strategy="every_save", **CHECKPOINTS)
        hub.fail("commit", Status(403), times=2)
        monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
        trainer.train()
        assert trainer.state.global_step == 2
        warned = [record.getMessage() for record in caplog.records if "and training goes on" in record.getMessage()]
        assert len(warned) == 2
        assert hub.tokens.write not in "".join(warned)
        assert messages(hub) == ["initial commit"]
        hub.fail("commit", Status(403))
        with pytest.raises(PermissionError):
            trainer.save_model()
        assert messages(hub) == ["initial commit"]
        assert (tmp_path / "trees" / "model.safetensors").is_file()
        assert not (tmp_path / "trees" / SNAPSHOTS).exists()


class TestBeforeTraining:
    @pytest.mark.parametrize(("who", "message"), [("wrong", "does not accept"), ("read", "can only read")])
    def test_a_token_that_will_not_do_is_found_out(self, hub, publishing, monkeypatch, who, message):
        monkeypatch.setenv("HF_TOKEN", getattr(hub.tokens, who))
        with pytest.raises(PermissionError, match=message):
            publishing()
        assert not hub.repos

    def test_a_repository_is_made_as_private_as_asked(self, hub, publishing):
        publishing(hub_private_repo=True)
        assert hub.repos[REPO].private

    def test_a_public_repository_is_not_trained_for_as_a_private_one(self, hub, publishing):
        publishing()
        with pytest.raises(ValueError, match="exists and is public"):
            publishing(hub_private_repo=True)

    def test_the_folder_names_the_repository_of_the_user(self, hub, publishing):
        assert publishing(hub_model_id=None).hub_model_id == "ada/trees"


class TestTokens:
    def test_it_is_in_no_file(self, hub, publishing, monkeypatch, tmp_path):
        monkeypatch.setenv("HF_TOKEN", hub.tokens.wrong)
        trainer = publishing(hub_token=hub.tokens.write, hub_strategy="checkpoint", **CHECKPOINTS)
        trainer.train()
        trainer.save_model()
        assert messages(hub)[-1] == "Model save"
        token = hub.tokens.write.encode()
        written = [path for path in (tmp_path / "trees").rglob("*") if path.is_file()]
        assert (tmp_path / "trees" / "training_args.bin") in written
        assert not [path for path in written if token in path.read_bytes()]
        assert not [path for path, content in files_of(hub).items() if token in content]

    def test_arguments_are_pickled_without_it(self, tmp_path):
        args = GeoDiTTrainingArguments(output_dir=str(tmp_path), use_cpu=True, hub_token="hf_secret")
        assert args.hub_token == "hf_secret"
        assert b"hf_secret" not in pickle.dumps(args)

    @pytest.mark.parametrize("override", ["--hub_token", "--hub-token", "--hub_token=hf_secret"])
    def test_a_recipe_does_not_take_one(self, override, geometry, tmp_path):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(yaml.safe_dump({"geometry": geometry.name, "output_dir": "runs", "num_scenes": 1}))
        words = [override] if "=" in override else [override, "hf_secret"]
        with pytest.raises(ValueError, match="must not hold hub_token") as error:
            parse_recipe(str(recipe), words)
        assert "hf_secret" not in str(error.value)


def test_a_vision_tower_alone_is_not_published(geometry, tmp_path):
    from geodit.trainers.runs.recipes import run_recipe

    recipe = {"objective": "dense_vision", "geometry": geometry.name, "num_scenes": 1, "push_to_hub": True}
    (tmp_path / "vision.yaml").write_text(yaml.safe_dump(recipe | {"output_dir": str(tmp_path / "runs")}))
    with pytest.raises(ValueError, match="leave push_to_hub out"):
        run_recipe(str(tmp_path / "vision.yaml"))

# SPDX-License-Identifier: Apache-2.0
"""A checkpoint loads where only Transformers, PyTorch and Pillow are installed, and answers as it does here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
    pipeline,
)

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.configuration.remote_code_geodit import CODE_FILES
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor

CLIENT = Path(__file__).with_name("remote_code_client.py")
HUB_ID = "someone/geodit-small"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SETTINGS = [
    {"max_new_tokens": 12, "max_denoising_steps": 4},
    {"max_new_tokens": 12, "max_denoising_steps": 4, "temperature": 1.0, "remasking": "random", "seed": 3},
]


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "image.png"
    Image.linear_gradient("L").resize((40, 60)).save(path)
    return path


@pytest.fixture(scope="module")
def expected(checkpoint, picture) -> list[list[list[int]]]:
    """What the installed package answers, with each of the settings."""
    model = GeoDiTForMaskedDiffusion.from_pretrained(checkpoint)
    processor = GeoDiTProcessor.from_pretrained(checkpoint)
    inputs = processor(images=Image.open(picture), text="ship", task="detect", return_tensors="pt")
    answers = [model.generate(**inputs, **settings).tolist() for settings in SETTINGS]
    assert answers[0] != answers[1]
    return answers


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """Where the client saves what it has loaded."""
    return tmp_path_factory.mktemp("saved") / "again"


@pytest.fixture(scope="module")
def outcome(checkpoint, picture, saved, tmp_path_factory):
    """What the client found, with the checkpoint in a folder and in the cache of a repository of the Hub."""
    home = tmp_path_factory.mktemp("home")
    repository = home / "hub" / f"models--{HUB_ID.replace('/', '--')}"
    shutil.copytree(checkpoint, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    job = {
        "checkpoints": [str(checkpoint), HUB_ID],
        "save_to": str(saved),
        "image": str(picture),
        "task": "detect",
        "query": "ship",
        "prompt": "Detect: ship.",
        "settings": SETTINGS,
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    finished = subprocess.run(
        [sys.executable, "-I", CLIENT, json.dumps(job), home / "outcome.json"],
        env=kept | {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        cwd=home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads((home / "outcome.json").read_text())


class TestWithoutThePackage:
    def test_it_is_not_there(self, outcome):
        assert outcome["import"].startswith("ModuleNotFoundError: import of geodit halted")
        assert outcome["imported"] == []
        assert {"geodit", "peft", "trl"} <= set(outcome["hidden"])
        assert not {"numpy", "PIL", "torch", "transformers"} & set(outcome["hidden"])

    def test_transformers_refuses_to_run_code_it_was_not_told_to_trust(self, outcome):
        assert len(outcome["untrusted"]) == 4
        for message in outcome["untrusted"].values():
            assert message.startswith("ValueError: The repository ")
            assert "contains custom code which must be executed to correctly load the model" in message
            assert "pass the argument `trust_remote_code=True`" in message

    def test_every_auto_class_loads_the_code_of_the_checkpoint(self, outcome, checkpoint, saved):
        for location in (str(checkpoint), str(saved), HUB_ID):
            classes = outcome["asked"][location]["classes"]
            assert {name: loaded.split()[1] for name, loaded in classes.items()} == {
                "AutoConfig": "GeoDiTConfig",
                "AutoModel": "GeoDiTForMaskedDiffusion",
                "AutoModelForImageTextToText": "GeoDiTForMaskedDiffusion",
                "AutoModelForMultimodalLM": "GeoDiTForMaskedDiffusion",
                "AutoProcessor": "GeoDiTProcessor",
            }
            assert all(loaded.startswith("transformers_modules.") for loaded in classes.values())

    def test_every_model_and_the_pipeline_generate_the_same_tokens(self, outcome, checkpoint, saved, expected):
        for location in (str(checkpoint), str(saved), HUB_ID):
            answers = outcome["asked"][location]["answers"]
            assert set(answers) == {
                "AutoModel",
                "AutoModelForImageTextToText",
                "AutoModelForMultimodalLM",
                "pipeline",
            }
            for name, tokens in answers.items():
                assert tokens == expected, f"{name}, {location}"

    def test_it_saves_the_files_that_the_package_saves(self, outcome, checkpoint, saved, tmp_path):
        GeoDiTForMaskedDiffusion.from_pretrained(checkpoint).save_pretrained(tmp_path)
        # Without the network, like the client: the tokenizer notes it down.
        GeoDiTProcessor.from_pretrained(checkpoint, local_files_only=True).save_pretrained(tmp_path)
        files = {path.name: path.read_bytes() for path in saved.iterdir()}
        assert set(CODE_FILES) < set(files)
        assert set(files) == {path.name for path in tmp_path.iterdir()}
        for name, content in files.items():
            assert content == (tmp_path / name).read_bytes(), name

    def test_a_configuration_alone_is_saved_with_all_of_the_code(self, outcome, saved):
        assert {path.name for path in saved.with_name("config-alone").iterdir()} == {"config.json", *CODE_FILES}


class TestWithThePackage:
    @pytest.fixture(autouse=True)
    def no_prompt(self, monkeypatch):
        def refuse(*_):
            raise AssertionError("something asked whether to trust remote code")

        monkeypatch.setattr("builtins.input", refuse)

    @pytest.mark.parametrize("flag", [{}, {"trust_remote_code": False}, {"trust_remote_code": True}])
    def test_its_own_classes_are_loaded_whatever_the_flag(self, checkpoint, flag):
        assert type(AutoConfig.from_pretrained(checkpoint, **flag)) is GeoDiTConfig
        assert type(AutoProcessor.from_pretrained(checkpoint, **flag)) is GeoDiTProcessor
        for auto_class in (AutoModel, AutoModelForImageTextToText, AutoModelForMultimodalLM):
            assert type(auto_class.from_pretrained(checkpoint, **flag)) is GeoDiTForMaskedDiffusion

    def test_the_pipeline_answers_a_chat(self, checkpoint, picture, expected):
        pipe = pipeline("image-text-to-text", model=str(checkpoint))
        content = [{"type": "image", "image": Image.open(picture)}, {"type": "text", "text": "Detect: ship."}]
        chat = [{"role": "user", "content": content}]
        (record,) = pipe(text=chat, generate_kwargs=SETTINGS[0], return_tensors=True)
        assert [record["generated_token_ids"].tolist()] == expected[0]
        (record,) = pipe(text=chat, generate_kwargs=SETTINGS[0], return_full_text=False)
        answer = expected[0][0][-SETTINGS[0]["max_new_tokens"] :]
        assert record["generated_text"] == pipe.tokenizer.decode(answer, skip_special_tokens=True)

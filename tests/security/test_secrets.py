# SPDX-License-Identifier: Apache-2.0
"""Tokens, keys and passwords: no way out of the machine, and none into a message."""

import json
import logging
import pickle
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from geodit.cli.errors import CommandGroup
from geodit.configuration.secrets import find_secrets, mask_secrets, refuse_secrets, secrets_of_environment
from geodit.configuration.text_files import parse_yaml
from geodit.hub_cards.card.checkpoint_files import parse_fields
from geodit.hub_cards.card.model_card import build_model_card
from geodit.hub_cards.publish.file_selection import PublishedFile, published_files
from geodit.hub_cards.publish.hub_client import HubClient
from geodit.hub_cards.publish.push import push_files
from geodit.trainers.grpo.arguments import GeoDiTGRPOConfig
from geodit.trainers.runs.recipes import parse_recipe
from geodit.trainers.training_arguments import GeoDiTTrainingArguments
from hub_server.faults import Status

# Put together here, so that no scanner of repositories takes them for real.
HUB = "hf_" + "aB3" * 12
SECRETS = {
    "a token of the Hub": [HUB, "api_org_" + "xY7" * 11, "my-run_" + HUB],
    "a token of GitHub": ["ghp_" + "a1B2" * 9, "github_pat_" + "11AB" * 20],
    "a token of GitLab": ["glpat-" + "a1B2_" * 4],
    "a key of AWS": ["AKIA" + "ABCD1234" * 2, "ASIA" + "ABCD1234" * 2],
    "a key of OpenAI or Anthropic": ["sk-" + "proj-a1B2" * 5, "sk-" + "ant-api03-" + "a1B2" * 9, "sk-" + "aBcD" * 9],
    "a token of Slack": ["xoxb-" + "1234567890-abcdef"],
    "a key of Google": ["AIza" + "a1B2c" * 7],
    "a JSON web token": ["eyJ" + "hbGciOiJI" + ".eyJ" + "zdWIiOiIx" + "." + "dozjgNryP4J3"],
    "a private key": ["-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"],
    "a password in an address": ["https://ada:" + "correct-horse@hub.example/x"],
    "an authorization header": ["Authorization: Bearer " + "abc.def-123", "bearer " + "a1b2c3d4e5f6a7b8c9"],
    "a password or key": ['"api_key": "' + "0123456789abcdef" + '"', "password=" + "hunter2hunter2"],
}
EVERY = [(kind, secret) for kind, secrets in SECRETS.items() for secret in secrets]
# What nobody may see of each.
PARTS = {secret: secret.split("ada:")[-1].split("@hub")[0].split(" ")[-1].split("\n")[-1] for _, secret in EVERY}
HARMLESS = [
    "hf_hub_download, hf_transfer and api_org_names",
    "task-specific-heads-of-all-the-9-models sk-learn",
    "https://huggingface.co/org/model@main and https://hub.example:8080/a@b",
    "eos_token: <|endoftext|>, password: ${PASSWORD_OF_TODAY}",
    "0" * 40 + " and a bearer of news",
    "AKIA is a name",
]
REPO = "org/geodit-test"


class TestFinding:
    @pytest.mark.parametrize(("kind", "secret"), EVERY)
    def test_each_kind_is_found_and_masked(self, kind, secret):
        text = f"before '{secret}' after"
        assert kind in find_secrets(text)
        masked = mask_secrets(text)
        assert PARTS[secret] not in masked
        assert masked.startswith("before '")
        assert masked.endswith("after")
        assert find_secrets(masked) == []

    @pytest.mark.parametrize("text", HARMLESS)
    def test_what_only_looks_a_bit_like_one_stays(self, text):
        assert find_secrets(text) == []
        assert mask_secrets(text) == text

    def test_a_secret_that_is_known_needs_no_shape(self):
        assert find_secrets("the hf_writes of ada", ["hf_writes"]) == ["a token or key in use"]
        assert mask_secrets("the hf_writes of ada", ["hf_writes"]) == "the <secret> of ada"
        assert mask_secrets("a b", ["", "a"]) == "a b"

    def test_variables_that_say_so_hold_secrets(self):
        environment = {"HF_TOKEN": "hf_writes", "WANDB_API_KEY": "0123456789", "HOME": "/home/ada", "X_TOKEN": "1"}
        assert secrets_of_environment(environment) == {"hf_writes", "0123456789"}

    @pytest.mark.parametrize(
        "value", [{"a": [{"b": ("x", HUB)}]}, {"a": {HUB: 1}}, {"push_to_hub_token": "short"}, HUB, [HUB]]
    )
    def test_values_in_values_are_refused_without_repeating_them(self, value):
        with pytest.raises(ValueError, match=r"of it has something|^it has something") as error:
            refuse_secrets(value, "it")
        assert HUB not in str(error.value)

    def test_megabytes_are_read_in_no_time(self):
        text = "vocabulary: hf sk gh eyJ AKIA api_org : // -- xox " * 40_000
        assert find_secrets(text + HUB) == ["a token of the Hub"]


def failing(error: Exception) -> typer.Typer:
    app = typer.Typer(cls=CommandGroup)

    @app.callback()
    def options(debug: bool = False) -> None: ...

    @app.command()
    def fail() -> None:
        try:
            raise KeyError(f"cause {error}")
        except KeyError as cause:
            raise error from cause

    return app


class TestTerminal:
    @pytest.mark.parametrize("debug", [(), ("--debug",)], ids=["one line", "traceback"])
    def test_no_error_shows_one(self, debug):
        for _, secret in EVERY:
            result = CliRunner().invoke(failing(ValueError(f"of {secret}!")), [*debug, "fail"])
            assert "<secret>" in result.stderr
            assert PARTS[secret] not in result.output, secret
            assert result.exit_code == (1 if debug else 2)

    def test_nor_the_tokens_in_use(self, monkeypatch):
        monkeypatch.setenv("WANDB_API_KEY", "anything at all")
        result = CliRunner().invoke(failing(RuntimeError("sent anything at all")), ["--debug", "fail"])
        assert "RuntimeError: sent <secret>" in result.stderr
        assert "anything at all" not in result.output

    def test_nor_does_what_is_said_of_arguments(self):
        result = CliRunner().invoke(failing(ValueError("x")), ["fail", HUB])
        assert result.exit_code == 2
        assert HUB not in result.output


class TestReaders:
    def test_what_is_no_yaml_is_not_quoted_with_one(self):
        for _, secret in EVERY:
            with pytest.raises(ValueError, match="is not YAML that can be read") as error:
                parse_yaml(f"run_name: [{json.dumps(secret)}\nb: }}", "a.yaml")
            assert PARTS[secret] not in str(error.value) + repr(error.value.__cause__)

    def test_a_value_of_another_type_is_not_quoted_with_one(self):
        with pytest.raises(ValueError, match="must be an integer") as error:
            parse_fields(json.dumps({"steps": "x" * 60 + " " + HUB}), Path("a.json"))["steps"].integer()
        assert HUB[:15] not in str(error.value)


class TestRecipes:
    def test_a_recipe_that_has_one_is_refused(self, tmp_path):
        path = tmp_path / "a.yaml"
        for _, secret in EVERY:
            for recipe in ({"run_name": secret}, {"no_such_field": [secret]}, {"datasets": {secret: 1}}):
                path.write_text(json.dumps(recipe))
                with pytest.raises(ValueError, match=r"a\.yaml, which is published with the model, has some") as error:
                    parse_recipe(str(path))
                assert PARTS[secret] not in str(error.value)

    @pytest.mark.parametrize("overrides", [["--run_name", HUB], [f"--run_name={HUB}"], ["--no-such", HUB]])
    def test_so_are_overrides(self, tmp_path, overrides):
        (tmp_path / "a.yaml").write_text("{}")
        with pytest.raises(ValueError, match="one of the overrides of the recipe") as error:
            parse_recipe(str(tmp_path / "a.yaml"), overrides)
        assert HUB not in str(error.value)

    def test_a_field_may_say_that_it_holds_one(self, tmp_path):
        (tmp_path / "a.yaml").write_text("wandb_api_key: of-no-known-shape\n")
        with pytest.raises(ValueError, match="wandb_api_key of the recipe") as error:
            parse_recipe(str(tmp_path / "a.yaml"))
        assert "of-no" not in str(error.value)


class TestTrainingArguments:
    @pytest.mark.parametrize("kind", [GeoDiTTrainingArguments, GeoDiTGRPOConfig])
    def test_no_argument_takes_one(self, kind, tmp_path):
        options = {"output_dir": str(tmp_path), "report_to": "none", "use_cpu": True, "bf16": False}
        for fields in ({"run_name": HUB}, {"hub_token": "of-no-shape", "run_name": "my of-no-shape run"}):
            with pytest.raises(ValueError, match="run_name of the training arguments has something") as error:
                kind(**options, **fields)
            assert HUB not in str(error.value)

    def test_none_that_is_set_later_is_pickled(self, tmp_path):
        arguments = GeoDiTTrainingArguments(str(tmp_path), report_to="none", use_cpu=True, hub_token="of-no-shape")
        arguments.run_name = f"run {HUB} of-no-shape"
        arguments.accelerator_config = {"address": ["https://ada:" + "horse@hub.example"]}
        pickled = pickle.dumps(arguments)
        assert not any(secret in pickled for secret in (HUB.encode(), b"of-no-shape", b"horse"))
        assert arguments.hub_token == "of-no-shape"
        assert b"run <secret> <secret>" in pickled


@pytest.fixture
def folder(checkpoint, tmp_path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "geodit-test"))


def with_field(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


class TestPublishedFiles:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_a_file_that_has_one_is_not_published(self, folder, encoding):
        texts = {"LICENSE": "{}", "chat_template.jinja": "{{# {} #}}", "training/a.jsonl": '{{"note": "{}"}}\n'}
        for name in [*texts] if encoding == "utf-8" else ["LICENSE"]:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            before = path.read_bytes() if path.exists() else b""
            path.write_text(texts[name].format(HUB), encoding=encoding)
            with pytest.raises(ValueError, match=f"{name} has something that looks like a token of the Hub") as error:
                published_files(folder, repo_id=REPO)
            assert HUB not in str(error.value)
            path.write_bytes(before)

    def test_nor_are_settings_weights_and_examples_with_one(self, folder):
        from safetensors.torch import load_file, save_file

        with_field(folder / "config.json", note=["https://ada:" + "horse@hub.example"])
        with pytest.raises(ValueError, match=r"config\.json has something that looks like a password in an address"):
            published_files(folder, repo_id=REPO)
        with_field(folder / "config.json", note=[])
        (folder / "assets").mkdir()
        example = dict.fromkeys(("scene", "task", "query", "answer", "truth"), HUB)
        (folder / "assets" / "examples.json").write_text(json.dumps({"examples": [example]}))
        with pytest.raises(ValueError, match=r"assets/examples\.json has something"):
            published_files(folder, repo_id=REPO)
        with pytest.raises(ValueError, match="the card, and so a file that it is made of, has something") as error:
            build_model_card(folder)
        assert HUB not in str(error.value)
        shutil.rmtree(folder / "assets")
        weights = folder / "model.safetensors"
        save_file(load_file(weights), weights, metadata={"format": "pt", "note": HUB})
        with pytest.raises(ValueError, match=r"model\.safetensors has something"):
            published_files(folder, repo_id=REPO)

    @pytest.mark.parametrize(
        "option", [{"tags": [HUB]}, {"model_name": HUB}, {"license": HUB}, {"datasets": [f"org/{HUB}"]}]
    )
    def test_nor_is_a_card_that_is_told_one(self, folder, option):
        with pytest.raises(ValueError, match=f"{next(iter(option))} of what is told to the card has") as error:
            published_files(folder, repo_id=REPO, **option)
        assert HUB not in str(error.value)


class TestHub:
    """Nothing goes to the Hub but in its own header, and nothing comes back into a message."""

    @pytest.mark.parametrize("fields", [{"message": f"Add {HUB}"}, {"description": HUB}, {"message": "of hf_writes"}])
    def test_no_commit_says_one(self, hub, fields):
        client = HubClient(hub.tokens.write, endpoint=hub.endpoint)
        with pytest.raises(ValueError, match=f"{next(iter(fields))} of the commit has something") as error:
            push_files([PublishedFile("a.txt", b"a")], REPO, client=client, **fields)
        assert HUB not in str(error.value)
        assert hub.requests == []

    def test_no_file_has_the_token_in_use(self, hub, tmp_path):
        client = HubClient(hub.tokens.write, endpoint=hub.endpoint)
        (tmp_path / "a").write_bytes(b"." * (2**24 - 4) + hub.tokens.write.encode())
        for content in (f"token {hub.tokens.write}".encode(), tmp_path / "a"):
            with pytest.raises(ValueError, match=r"a\.txt has something that looks like a token or key in use"):
                push_files([PublishedFile("a.txt", content)], REPO, client=client)
        assert hub.requests == []

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500])
    def test_what_a_server_says_is_masked_with_all_its_causes(self, hub, no_waiting, status, caplog):
        import traceback

        client = HubClient(hub.tokens.write, endpoint=hub.endpoint)
        said = f"{hub.tokens.write}, {HUB} and https://ada:" + "horse@hub.example"
        hub.fail("whoami", Status(status, said, {"X-Request-Id": hub.tokens.write}), times=9)
        with caplog.at_level(logging.INFO), pytest.raises((PermissionError, ConnectionError, ValueError)) as error:
            push_files([PublishedFile("a.txt", b"a")], REPO, client=client)
        shown = "".join(traceback.format_exception(error.value)) + str(error.value)
        for secret in (hub.tokens.write, HUB, "horse"):
            assert secret not in shown
        assert hub.tokens.write not in caplog.text

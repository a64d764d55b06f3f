# SPDX-License-Identifier: Apache-2.0
"""LoRA: what is trained and what is not, what is saved, and that it answers the same however it is loaded."""

import copy
import functools
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, constants
from safetensors import safe_open
from torch.utils.data import Dataset
from transformers import AutoProcessor, TorchAoConfig

import geodit
from defined_environment import DEVICE

peft = pytest.importorskip("peft")

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion  # noqa: E402
from geodit.pipelines.image_pipeline import GeoDiTPipeline  # noqa: E402
from geodit.trainers.runs.quantization import WHOLE_PRECISION, quantization_config  # noqa: E402
from geodit.trainers.runs.recipe_arguments import ModelArguments  # noqa: E402
from geodit.trainers.sample_callback import SampleCallback, choose_samples  # noqa: E402
from geodit.trainers.trainable import count_parameters  # noqa: E402
from geodit.trainers.trainer import GeoDiTTrainer  # noqa: E402
from geodit.trainers.training_arguments import GeoDiTTrainingArguments  # noqa: E402
from geodit.weights.adapters import (  # noqa: E402
    adapter_base,
    find_adapter,
    load_adapter,
    load_merged,
    processor_folder,
)


class Items(Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


@functools.cache
def loaded(base, **options):
    return GeoDiTForMaskedDiffusion.from_pretrained(base, **options).to(DEVICE), AutoProcessor.from_pretrained(base)


def load(base, **options):
    """A model and its processor, for the test alone. They are read once."""
    if "quantization_config" not in options:
        return copy.deepcopy(loaded(base, **options))
    # What is quantized cannot be moved.
    model = GeoDiTForMaskedDiffusion.from_pretrained(base, **options, device_map=DEVICE)
    return model, AutoProcessor.from_pretrained(base)


@pytest.fixture(scope="module")
def make_trainer(make_trainer):
    return functools.partial(make_trainer, learning_rate=1e-2, warmup_steps=0)


@pytest.fixture(scope="module")
def trained(base, shared_items, tmp_path_factory, make_trainer):
    """The folder of an adapter, and the model that it was saved from."""
    folder = tmp_path_factory.mktemp("adapter")
    model, processor = load(base)
    trainer = make_trainer(model, processor, shared_items, folder, peft_config=peft.LoraConfig(r=4))
    trainer.train()
    trainer.save_model()
    return folder, trainer.model


@pytest.fixture
def adapter(trained, tmp_path):
    """A copy of that folder to spoil."""
    return Path(shutil.copytree(trained[0], tmp_path / "adapter"))


@torch.no_grad()
def logits(model, processor, item):
    inputs = processor(images=item["image"], text="ship", task="detect", return_tensors="pt")
    return model.eval()(**inputs.to(model.device)).logits


def test_adapters_and_projector_are_trained_and_the_base_is_bit_for_bit_what_it_was(
    base, items, tmp_path, make_trainer
):
    model, processor = load(base)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = make_trainer(model, processor, items, tmp_path, peft_config=peft.LoraConfig(r=4))
    start = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()

    trained = {name for name, value in trainer.model.named_parameters() if value.requires_grad}
    changed = {name for name, value in trainer.model.named_parameters() if not value.equal(start[name])}
    assert changed == trained
    layers = {name.rpartition(".lora_")[0] for name in trained if ".lora_" in name}
    linear = [
        f"base_model.model.model.language_model.layers.{layer}.{name}_proj"
        for layer in range(2)
        for name in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up", "mlp.down")
    ]
    assert layers == set(linear)
    projector = "base_model.model.model.multi_modal_projector.modules_to_save.default."
    assert {name for name in trained if ".lora_" not in name} == {
        projector + name for name in ("linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias")
    }
    # Without the adapter the base is there as it was loaded.
    base_weights = {
        name.replace(".base_layer", "").replace(".original_module", ""): value
        for name, value in trainer.model.get_base_model().state_dict().items()
        if ".lora_" not in name and ".modules_to_save" not in name
    }
    assert base_weights.keys() == before.keys()
    assert all(value.equal(before[name]) for name, value in base_weights.items())


def test_parameters_are_counted_by_part_as_peft_counts_them(base):
    model, _ = load(base)
    whole = count_parameters(model)
    assert sum(count.total for count in whole.values()) == model.num_parameters()
    adapted = GeoDiTTrainer(model, GeoDiTTrainingArguments(use_cpu=True), peft_config=peft.LoraConfig(r=4)).model
    counts = count_parameters(adapted)
    trainable, total = adapted.get_nb_trainable_parameters()
    assert (sum(c.trainable for c in counts.values()), sum(c.total for c in counts.values())) == (trainable, total)
    assert counts["vision_tower"] == type(counts["vision_tower"])(whole["vision_tower"].total, 0)
    assert counts["language_model"].total == whole["language_model"].total
    assert counts["projector"].total == 2 * counts["projector"].trainable == 2 * whole["projector"].total
    assert counts["adapter"].total == counts["adapter"].trainable > 0


def test_a_saved_adapter_holds_what_was_trained_and_names_its_base(trained, base):
    folder, model = trained
    files = {path.name for path in folder.iterdir()}
    assert files >= {
        "adapter_config.json",
        "adapter_model.safetensors",
        "processor_config.json",
        "generation_config.json",
    }
    assert not files & {"model.safetensors", "config.json"}
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(base)
    with safe_open(folder / "adapter_model.safetensors", "pt") as file:
        size = sum(file.get_tensor(name).numel() for name in file.keys())  # noqa: SIM118
    assert size == model.get_nb_trainable_parameters()[0]


def test_saved_loaded_and_merged_give_the_same_logits(trained, base, items):
    folder, model = trained
    plain, processor = load(base)
    expected = logits(model, processor, items[0])
    assert (logits(plain, processor, items[0]) - expected).abs().max() > 1e-2
    loaded = load_adapter(load(base)[0], folder)
    assert torch.equal(logits(loaded, processor, items[0]), expected)
    by_peft = peft.PeftModel.from_pretrained(load(base)[0], folder)
    assert torch.equal(logits(by_peft, processor, items[0]), expected)
    merged = load_merged(folder).to(DEVICE)
    assert type(merged) is GeoDiTForMaskedDiffusion
    torch.testing.assert_close(logits(merged, processor, items[0]), expected, atol=1e-5, rtol=1e-4)


def test_a_pipeline_takes_the_processor_that_was_trained_with(adapter, base, items):
    assert processor_folder(adapter) == str(adapter)
    question = (items[0]["image"], "detect", "ship")
    answers = GeoDiTPipeline.from_pretrained(adapter=adapter, device=DEVICE)(*question, steps=1)
    (adapter / "processor_config.json").unlink()
    assert processor_folder(adapter) == str(base)
    pipeline = GeoDiTPipeline.from_pretrained(base, adapter=adapter, device=DEVICE)
    assert pipeline(*question, steps=1) == answers
    with pytest.raises(ValueError, match="give a model, an adapter or both"):
        GeoDiTPipeline.from_pretrained()


def test_a_killed_run_resumes_from_its_checkpoint(base, items, tmp_path, make_trainer):
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "seed": 3}

    def trainer():
        model, processor = load(base)
        torch.manual_seed(0)  # of the new adapter
        return make_trainer(
            model, processor, items, tmp_path / "run", peft_config=peft.LoraConfig(r=4, lora_dropout=0.1), **settings
        )

    whole = trainer()
    whole.train()
    resumed = trainer()
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert resumed.state.global_step == 4
    expected = dict(whole.model.named_parameters())
    for name, value in resumed.model.named_parameters():
        assert value.equal(expected[name]), name


def test_checkpointing_activations_changes_nothing(base, items, tmp_path, make_trainer):
    weights = []
    for checkpointing in (False, True):
        model, processor = load(base)
        torch.manual_seed(0)
        trainer = make_trainer(
            model, processor, items, tmp_path, peft_config=peft.LoraConfig(r=4), activation_checkpointing=checkpointing
        )
        trainer.train()
        weights.append(dict(trainer.model.named_parameters()))
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, msg=name)


def test_a_model_that_was_wrapped_by_hand_is_taken_as_it_is(base, items, tmp_path, make_trainer):
    model, processor = load(base)
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    trained = {name for name, value in wrapped.named_parameters() if value.requires_grad}
    trainer = make_trainer(wrapped, processor, items, tmp_path)
    trainer.train()
    assert trainer.model is wrapped
    assert {name for name, value in wrapped.named_parameters() if value.requires_grad} == trained
    assert trainer.evaluate(Items(items))["eval_loss"] > 0


def test_layers_named_by_the_user_are_those_of_the_text_core_only(base, items, tmp_path, make_trainer):
    """SigLIP calls its layers by the same names."""
    model, processor = load(base)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    trainer = make_trainer(model, processor, items, tmp_path, peft_config=config)
    adapted = [name for name, _ in trainer.model.named_parameters() if ".lora_" in name]
    assert len(adapted) == 2 * 2 * 2
    assert all(".language_model." in name for name in adapted)
    assert config.exclude_modules is None, "the configuration of the caller is left alone"


def test_model_init_makes_an_adapter_of_its_own_for_every_run(base, items, tmp_path, make_trainer):
    _, processor = load(base)
    trainer = make_trainer(
        None, processor, items, tmp_path, peft_config=peft.LoraConfig(r=2), model_init=lambda: load(base)[0]
    )
    first = trainer.model
    trainer.train()
    assert trainer.model is not first
    assert trainer.model.get_nb_trainable_parameters() == first.get_nb_trainable_parameters()


@pytest.mark.parametrize("autocast", [True, False])
def test_a_base_of_16_bits_trains_in_float32_under_autocast(base, items, tmp_path, autocast, make_trainer):
    model, processor = load(base, dtype=torch.bfloat16)
    trainer = make_trainer(model, processor, items, tmp_path, peft_config=peft.LoraConfig(r=2), bf16=autocast)
    trainer.train()
    types = {}
    for name, value in trainer.model.named_parameters():
        kind = "adapter" if ".lora_" in name else "projector" if "modules_to_save" in name else "base"
        types.setdefault(kind, set()).add(value.dtype)
    projector = torch.float32 if autocast else torch.bfloat16
    assert types == {"adapter": {torch.float32}, "projector": {projector}, "base": {torch.bfloat16}}


@pytest.mark.parametrize(
    ("trained_on", "asked", "taken"), [("v2", None, "v2"), ("v2", "v3", "v3"), (None, None, "main")]
)
def test_an_adapter_is_merged_into_the_revision_that_it_was_trained_on(adapter, monkeypatch, trained_on, asked, taken):
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"revision": trained_on}))
    revisions = []
    read = GeoDiTForMaskedDiffusion.from_pretrained
    monkeypatch.setattr(
        GeoDiTForMaskedDiffusion,
        "from_pretrained",
        lambda *args, revision, **options: revisions.append(revision) or read(*args, **options),
    )
    load_merged(adapter, revision=asked)
    assert revisions == [taken]


@pytest.mark.parametrize("layer", ["embed_tokens", "lm_head"])
def test_an_adapter_of_the_vocabulary_is_loaded_too(base, items, tmp_path, layer, make_trainer):
    model, processor = load(base)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", layer])
    trainer = make_trainer(model, processor, items, tmp_path, peft_config=config)
    trainer.train()
    trainer.save_model()
    expected = logits(trainer.model, processor, items[0])
    loaded = load_adapter(load(base)[0], tmp_path)
    assert any(f"{layer}.lora_" in name for name, _ in loaded.named_parameters())
    assert logits(loaded, processor, items[0]).equal(expected)
    torch.testing.assert_close(
        logits(load_merged(tmp_path).to(DEVICE), processor, items[0]), expected, atol=1e-5, rtol=1e-4
    )


def test_a_base_of_16_bits_answers_while_its_adapter_is_trained(base, items, tmp_path, make_trainer):
    model, processor = load(base, dtype=torch.bfloat16)
    watch = SampleCallback(processor, choose_samples(items, 2))
    config = peft.LoraConfig(r=2)
    options = {"bf16": True, "sample_every_steps": 2, "callbacks": [watch]}
    make_trainer(model, processor, items, tmp_path, peft_config=config, **options).train()
    assert len(json.loads((tmp_path / "samples" / "step-000002" / "answers.json").read_text())) == 2


def test_the_bundled_checkpoint_is_named_as_it_is_called_everywhere(tmp_path, items, make_trainer):
    model, processor = load(geodit.bundled_checkpoint(), dtype=torch.float32)
    trainer = make_trainer(model, processor, items, tmp_path, peft_config=peft.LoraConfig(r=2), max_steps=1)
    trainer.save_model()
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "geodit-tiny"
    card = (tmp_path / "README.md").read_text()
    assert "base_model: geodit-tiny" in card
    assert geodit.bundled_checkpoint() not in card
    assert load_merged(tmp_path).num_parameters() == model.num_parameters() - sum(
        p.numel() for name, p in model.named_parameters() if ".lora_" in name or ".original_module" in name
    )


class TestBases:
    """The base of an adapter is found again, whoever has saved it, and an adapter is not taken for a whole model."""

    @pytest.fixture
    def bundled(self, tmp_path, items, make_trainer):
        """An adapter of the bundled checkpoint, as a Trainer saves it."""
        model, processor = load(geodit.bundled_checkpoint(), dtype=torch.float32)
        trainer = make_trainer(model, processor, items, tmp_path, peft_config=peft.LoraConfig(r=2), max_steps=1)
        trainer.train()
        trainer.save_model()
        return tmp_path

    def test_peft_loads_an_adapter_on_the_base_that_it_names(self, bundled):
        assert peft.PeftConfig.from_pretrained(bundled).base_model_name_or_path == "geodit-tiny"
        assert adapter_base(bundled) == geodit.bundled_checkpoint()
        base = GeoDiTForMaskedDiffusion.from_pretrained(adapter_base(bundled), dtype=torch.float32)
        adapted = peft.PeftModel.from_pretrained(base, bundled)
        assert any(value.any() for name, value in adapted.named_parameters() if ".lora_B." in name)

    def test_the_bundled_checkpoint_is_found_from_another_installation(self, bundled, items):
        """PEFT by itself names the folder of the checkpoint."""
        config = json.loads((bundled / "adapter_config.json").read_text())
        elsewhere = "/opt/python/site-packages/geodit/checkpoints/geodit-tiny"
        (bundled / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": elsewhere}))
        assert adapter_base(bundled) == geodit.bundled_checkpoint()
        assert load_merged(bundled, geodit.bundled_checkpoint()).num_parameters() > 0
        gone = {"base_model_name_or_path": "/opt/models/geodit-8b"}
        (bundled / "adapter_config.json").write_text(json.dumps(config | gone))
        assert adapter_base(bundled) == "/opt/models/geodit-8b"

    def test_a_pipeline_says_how_to_load_an_adapter(self, trained, bundled, base):
        folder, _ = trained
        for adapter, named in ((folder, base), (bundled, "geodit-tiny")):
            message = (
                f"{adapter} is an adapter of {named}: use "
                f"GeoDiTPipeline.from_pretrained({str(named)!r}, adapter={str(adapter)!r})"
            )
            with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
                GeoDiTPipeline.from_pretrained(adapter)

    def test_so_it_does_where_the_adapter_is_on_the_hub(self, trained, default_hub, tmp_path, monkeypatch):
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        api = HfApi(endpoint=default_hub.endpoint, token=default_hub.tokens.write)
        api.create_repo("org/lora")
        api.upload_folder(repo_id="org/lora", folder_path=trained[0])
        with pytest.raises(ValueError, match=r"^org/lora is an adapter of .*, adapter='org/lora'\)$"):
            GeoDiTPipeline.from_pretrained("org/lora")

    def test_an_adapter_that_names_no_base(self, adapter):
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
        with pytest.raises(ValueError, match=r"a checkpoint that it does not name: use .*\('CHECKPOINT', adapter="):
            GeoDiTPipeline.from_pretrained(adapter)


class TestQuantizedBase:
    """QLoRA: the base in 8 or 4 bits, the adapter for the base as it was published."""

    @pytest.fixture(scope="class")
    @staticmethod
    def base(base, tmp_path_factory):
        """One whose layers are as wide as the blocks that bitsandbytes quantizes."""
        config = GeoDiTForMaskedDiffusion.from_pretrained(base).config
        config.text_config.hidden_size, config.text_config.intermediate_size = 64, 128
        config.text_config.head_dim = 32
        folder = tmp_path_factory.mktemp("wide")
        torch.manual_seed(0)
        GeoDiTForMaskedDiffusion(config).save_pretrained(folder)
        AutoProcessor.from_pretrained(base).save_pretrained(folder)
        return folder

    @pytest.fixture
    def train(self, make_trainer):
        return functools.partial(self.train_and_merge, make_trainer)

    @staticmethod
    def train_and_merge(make_trainer, base, items, folder, **options):
        model, processor = load(base, **options)
        linear = model.model.language_model.layers[0].mlp.up_proj
        assert not linear.weight.is_floating_point() or type(linear.weight) is not torch.nn.Parameter
        assert model.model.multi_modal_projector.linear_1.weight.dtype == torch.float32
        trainer = make_trainer(model, processor, items, folder, peft_config=peft.LoraConfig(r=4))
        trained = {name: value for name, value in trainer.model.named_parameters() if value.requires_grad}

        def train_on():
            before = {name: value.detach().clone() for name, value in trained.items()}
            trainer.train()
            assert all(not value.equal(before[name]) for name, value in trained.items())

        train_on()
        trainer.save_model()
        expected = logits(trainer.model, processor, items[0])
        train_on()  # gradients still pass after the model has answered
        merged = logits(load_merged(folder).to(DEVICE), processor, items[0])
        assert torch.nn.functional.cosine_similarity(expected, merged, dim=-1).min() > 0.95

    @pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
    def test_by_bitsandbytes_as_a_recipe_asks_for_it(self, base, items, tmp_path, train, bits):
        pytest.importorskip("bitsandbytes")
        args = ModelArguments(model_name_or_path=str(base), use_peft=True, **{bits: True})
        train(base, items, tmp_path, dtype=torch.float32, quantization_config=quantization_config(args))

    def test_by_torchao(self, base, items, tmp_path, train):
        torchao = pytest.importorskip("torchao.quantization")
        config = TorchAoConfig(torchao.Int8WeightOnlyConfig(), modules_to_not_convert=list(WHOLE_PRECISION))
        train(base, items, tmp_path, dtype=torch.float32, quantization_config=config)


class TestErrors:
    def test_an_adapter_on_an_adapter(self, trained, base, items, tmp_path, make_trainer):
        model, processor = load(base)
        wrapped = load_adapter(model, trained[0])
        with pytest.raises(ValueError, match="has an adapter already"):
            make_trainer(wrapped, processor, items, tmp_path, peft_config=peft.LoraConfig())

    def test_a_configuration_that_is_none_of_peft(self, base, items, tmp_path, make_trainer):
        with pytest.raises(ValueError, match="such as LoraConfig, got dict"):
            make_trainer(*load(base), items, tmp_path, peft_config={"r": 4})

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"trainable_parts": ["projector"]}, "Leave trainable_parts out"),
            ({"vision_learning_rate": 1e-5}, "the vision tower is not trained"),
        ],
    )
    def test_arguments_that_an_adapter_has_no_use_for(self, base, items, tmp_path, arguments, message, make_trainer):
        with pytest.raises(ValueError, match=message):
            make_trainer(*load(base), items, tmp_path, peft_config=peft.LoraConfig(), **arguments)

    def test_a_folder_that_is_no_adapter(self, base, tmp_path):
        with pytest.raises(ValueError, match=r"has no adapter_config.json. It is a whole checkpoint"):
            find_adapter(base)
        with pytest.raises(ValueError, match="There is no folder"):
            find_adapter(tmp_path / "nothing")

    def test_pickled_weights_are_not_read(self, adapter):
        (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
        with pytest.raises(ValueError, match=r"has no adapter_model.safetensors; other files of weights are not read"):
            find_adapter(adapter)

    @pytest.mark.parametrize(("content", "message"), [("{", "is not JSON"), ("{}", "no peft_type")])
    def test_a_damaged_configuration(self, adapter, content, message):
        (adapter / "adapter_config.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            load_merged(adapter)

    def test_a_base_of_another_shape(self, trained, base):
        folder, _ = trained
        config = GeoDiTForMaskedDiffusion.from_pretrained(base).config
        config.text_config.intermediate_size = 64
        message = (
            r"trained on .*base.*, does not fit this model: .*down_proj.lora_A.weight is \(4, 48\) where .* \(4, 64\)"
        )
        with pytest.raises(ValueError, match=message):
            load_adapter(GeoDiTForMaskedDiffusion(config), folder)

    def test_a_base_with_more_layers(self, trained, base):
        folder, _ = trained
        config = GeoDiTForMaskedDiffusion.from_pretrained(base).config
        config.text_config.num_hidden_layers = 3
        with pytest.raises(ValueError, match=r"does not fit this model: it lacks .*layers.2.* \(and 13 more\)"):
            load_adapter(GeoDiTForMaskedDiffusion(config), folder)

    def test_an_adapter_of_another_architecture(self, adapter, base):
        path = adapter / "adapter_config.json"
        path.write_text(path.read_text().replace("language_model", "transformer"))
        with pytest.raises(ValueError, match=r"is not for this model: No modules were targeted"):
            load_adapter(load(base)[0], adapter)

    def test_another_base_than_the_one_it_was_trained_on(self, adapter, base, tmp_path):
        other = tmp_path / "other"
        load(base)[0].save_pretrained(other)
        with pytest.raises(ValueError, match=r"was trained on .*base.*, not on .*other"):
            load_merged(adapter, other)

    def test_a_base_that_was_moved(self, adapter, base):
        config = adapter / "adapter_config.json"
        config.write_text(config.read_text().replace(str(base), "runs/gone/for/good"))
        with pytest.raises(OSError, match="is not there, name it as the model"):
            load_merged(adapter)
        assert load_merged(adapter, base).num_parameters() > 0

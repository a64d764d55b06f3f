# SPDX-License-Identifier: Apache-2.0
"""Published weights in, a GeoDiT checkpoint out, and the text core back: every tensor accounted for."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import SiglipModel, SiglipVisionModel
from transformers.models.siglip import SiglipConfig, SiglipVisionConfig

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.processing.tokenization import build_tokenizer
from geodit.weights.assembly import ASSEMBLY_FILE, assemble, assemble_llada_v
from geodit.weights.checkpoint_reader import CheckpointReader
from geodit.weights.disassembly import disassemble

GOLDEN = Path(__file__).parents[1] / "fixtures" / "llada-tiny"
EXPECTED = load_file(GOLDEN / "expected.safetensors")
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
TEXT_ENCODER = {**VISION, "vocab_size": 20, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
EMBEDDINGS = "model.transformer.wte.weight"


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    """A whole SigLIP checkpoint, text encoder included."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("siglip")
    config = SiglipConfig(vision_config=VISION, text_config={**TEXT_ENCODER, "projection_size": 32})
    SiglipModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tower(siglip):
    return SiglipVisionModel.from_pretrained(siglip).eval()


@pytest.fixture(scope="module")
def tokenizer():
    """A tokenizer of 309 tokens, as of a text core that has never seen images, with the golden checkpoint's ids."""
    return build_tokenizer(["Describe the scene."], vocab_size=400, location_bins=0)


@pytest.fixture(scope="module")
def assembled(siglip, tmp_path_factory):
    """The golden checkpoint and the tower, without a tokenizer."""
    folder = tmp_path_factory.mktemp("assembled") / "geodit"
    report = assemble(GOLDEN, siglip, folder, tokenizer=False)
    return folder, report


def tensors_of(folder):
    return {name: CheckpointReader(folder).read(name) for name in CheckpointReader(folder).records}


def golden_copy(folder, **changes):
    """The golden text core in one file, with some of its tensors changed, or left out where `None`."""
    folder.mkdir()
    tensors = {**tensors_of(GOLDEN), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, folder / "model.safetensors")
    shutil.copy(GOLDEN / "config.json", folder)
    return folder


class TestAssembled:
    @torch.no_grad()
    def test_the_text_core_gives_lladas_logits(self, assembled):
        model = GeoDiTForMaskedDiffusion.from_pretrained(assembled[0]).eval()
        logits = model(EXPECTED["forward.input_ids"]).logits
        torch.testing.assert_close(logits, EXPECTED["forward.logits"], atol=1e-5, rtol=0)

    @torch.no_grad()
    @pytest.mark.parametrize(("layer", "norm"), [(-1, True), (-2, False), (-2, True), (3, False), (0, False)])
    def test_the_vision_features_are_those_of_the_tower(self, assembled, tower, layer, norm):
        model = GeoDiTForMaskedDiffusion.from_pretrained(
            assembled[0], vision_feature_layer=layer, vision_post_layernorm=norm
        ).eval()
        pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        features = tower(pixels, output_hidden_states=True).hidden_states[layer]
        expected = model.model.multi_modal_projector(tower.post_layernorm(features) if norm else features)
        assert torch.equal(model.get_image_features(pixels).pooler_output, expected)

    def test_every_tensor_of_the_sources_is_copied_or_reported(self, assembled, siglip):
        folder, report = assembled
        taken = len(CheckpointReader(folder).records) - len(report.initialized)
        given = len(CheckpointReader(GOLDEN).records) + len(CheckpointReader(siglip).records)
        assert taken + len(report.unused) == given
        assert all(name.startswith(("text_model.", "logit_", "vision_model.head.")) for name in report.unused)
        assert all(name.startswith("model.multi_modal_projector.") for name in report.initialized)

    def test_the_report_stands_in_the_folder(self, assembled):
        folder, report = assembled
        document = json.loads((folder / ASSEMBLY_FILE).read_text())
        assert document["num_parameters"] == report.num_parameters
        assert document["num_parameters"] == sum(tensor.numel() for tensor in tensors_of(folder).values())
        assert document["sources"]["text"] == str(GOLDEN)

    def test_the_projector_depends_on_the_seed_alone(self, siglip, tmp_path):
        name = "model.multi_modal_projector.linear_1.weight"
        projectors = []
        for index, seed in enumerate([0, 0, 1]):
            assemble(GOLDEN, siglip, tmp_path / str(index), tokenizer=False, seed=seed)
            projectors.append(CheckpointReader(tmp_path / str(index)).read(name))
        assert torch.equal(projectors[0], projectors[1])
        assert not torch.equal(projectors[0], projectors[2])
        assert projectors[0].std() == pytest.approx(0.02, rel=0.1)

    def test_the_weights_can_be_written_in_another_type_and_in_several_files(self, siglip, tmp_path):
        report = assemble(GOLDEN, siglip, tmp_path / "out", tokenizer=False, dtype="bfloat16", max_shard_size="100KB")
        assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 1
        model = GeoDiTForMaskedDiffusion.from_pretrained(tmp_path / "out", dtype="auto")
        assert model.dtype == torch.bfloat16
        assert report.num_bytes == 2 * report.num_parameters

    def test_a_vision_tower_alone_does_as_well(self, siglip, tower, tmp_path):
        tower.save_pretrained(tmp_path / "tower")
        report = assemble(GOLDEN, tmp_path / "tower", tmp_path / "out", tokenizer=False)
        whole = assemble(GOLDEN, siglip, tmp_path / "whole", tokenizer=False)
        assert report.num_parameters == whole.num_parameters


class TestTokens:
    @pytest.fixture
    def out(self, siglip, tokenizer, tmp_path):
        """Assembled with a tokenizer whose end and mask tokens are the text core's, and 20 location tokens."""
        source = golden_copy(tmp_path / "llada")
        config = json.loads((source / "config.json").read_text())
        config |= {name: getattr(tokenizer, name) for name in ("mask_token_id", "eos_token_id", "pad_token_id")}
        (source / "config.json").write_text(json.dumps(config))
        tokenizer.save_pretrained(source)
        report = assemble(source, siglip, tmp_path / "out", location_bins=20)
        return source, tmp_path / "out", report

    def test_new_tokens_start_from_the_mean_of_the_others(self, out, tokenizer):
        source, folder, report = out
        processor = GeoDiTProcessor.from_pretrained(folder)
        new_ids = [processor.tokenizer.get_vocab()[f"<loc_{i}>"] for i in range(20)]
        for theirs, ours in (
            (EMBEDDINGS, "model.language_model.embed_tokens.weight"),
            ("model.transformer.ff_out.weight", "lm_head.weight"),
        ):
            before, after = CheckpointReader(source).read(theirs), CheckpointReader(folder).read(ours)
            mean = before[: len(tokenizer)].mean(0)
            torch.testing.assert_close(after[new_ids], mean.expand(20, -1))
            unchanged = [index for index in range(512) if index not in new_ids]
            assert torch.equal(after[unchanged], before[unchanged])
        assert any("20 new tokens" in note and "mean" in note for note in report.notes)

    def test_the_folder_answers_questions_about_images(self, out):
        _, folder, _ = out
        model = GeoDiTForMaskedDiffusion.from_pretrained(folder)
        processor = GeoDiTProcessor.from_pretrained(folder)
        inputs = processor(images=Image.new("RGB", (50, 40)), text="ship", task="detect", return_tensors="pt")
        output = model.generate(**inputs, max_new_tokens=8, max_denoising_steps=2)
        assert output.shape == (1, inputs["input_ids"].shape[1] + 8)

    def test_the_embeddings_grow_where_new_tokens_do_not_fit(self, siglip, tokenizer, tmp_path):
        source = golden_copy(tmp_path / "llada")
        config = json.loads((source / "config.json").read_text())
        config |= {name: getattr(tokenizer, name) for name in ("mask_token_id", "eos_token_id", "pad_token_id")}
        (source / "config.json").write_text(json.dumps(config))
        tokenizer.save_pretrained(source)
        assemble(source, siglip, tmp_path / "out", location_bins=300)
        model = GeoDiTForMaskedDiffusion.from_pretrained(tmp_path / "out")
        processor = GeoDiTProcessor.from_pretrained(tmp_path / "out")
        assert model.config.text_config.vocab_size == len(processor.tokenizer) > 512

    def test_without_a_tokenizer_it_stops_and_says_so(self, siglip, tmp_path):
        with pytest.raises(ValueError, match=r"has no tokenizer.*--tokenizer.*--no-tokenizer"):
            assemble(GOLDEN, siglip, tmp_path / "out")
        assert not list(tmp_path.iterdir())

    def test_a_tokenizer_of_another_model_is_refused(self, siglip, tokenizer, tmp_path):
        tokenizer.save_pretrained(tmp_path / "tokenizer")
        with pytest.raises(ValueError, match="no token 500, which ends an answer"):
            assemble(GOLDEN, siglip, tmp_path / "out", tokenizer=tmp_path / "tokenizer")

    def test_location_tokens_need_a_tokenizer(self, siglip, tmp_path):
        with pytest.raises(ValueError, match="Location tokens need a tokenizer"):
            assemble(GOLDEN, siglip, tmp_path / "out", tokenizer=False, location_bins=10)


class TestBack:
    def test_the_text_core_comes_back_bit_for_bit(self, assembled, tmp_path):
        disassemble(assembled[0], tmp_path / "llada")
        before, after = tensors_of(GOLDEN), tensors_of(tmp_path / "llada")
        assert before.keys() == after.keys()
        for name, tensor in before.items():
            assert tensor.dtype == after[name].dtype
            assert torch.equal(tensor.view(torch.uint8), after[name].view(torch.uint8))

    def test_its_configuration_says_what_lladas_said(self, assembled, tmp_path):
        disassemble(assembled[0], tmp_path / "llada")
        before = json.loads((GOLDEN / "config.json").read_text())
        after = json.loads((tmp_path / "llada" / "config.json").read_text())
        differing = {name for name in before if name in after and before[name] != after[name]}
        assert differing <= {"auto_map", "init_device"}
        assemble_again = {name for name in after if name not in before}
        assert assemble_again <= {"clip_qkv"}

    def test_another_model_is_refused(self, siglip, tmp_path):
        with pytest.raises(ValueError, match="no GeoDiT checkpoint: its model_type is 'siglip'"):
            disassemble(siglip, tmp_path / "out")


def llada_v_config(**changes):
    """In the form of the published one, at small size; the ids are the golden checkpoint's."""
    return {
        "architectures": ["LlavaLLaDAModelLM"],
        "model_type": "llava_llada",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 128000,
        "eos_token_id": 500,
        "mask_token_id": 511,
        "hidden_act": "silu",
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "rope_scaling": None,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "vocab_size": 512,
        "mm_vision_tower": "google/siglip2-so400m-patch14-384",
        "mm_hidden_size": 32,
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_patch_merge_type": "spatial_unpad",
        "image_aspect_ratio": "anyres_max_4",
        "image_grid_pinpoints": "(1x1),...,(6x6)",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        **changes,
    }


@pytest.fixture
def llada_v(tower, tmp_path):
    """LLaDA-V's layout: the golden text core under Llama's names, a tower without its last layer, a projector."""
    blocks = {
        "q_proj": "self_attn.q_proj",
        "k_proj": "self_attn.k_proj",
        "v_proj": "self_attn.v_proj",
        "attn_out": "self_attn.o_proj",
        "ff_proj": "mlp.gate_proj",
        "up_proj": "mlp.up_proj",
        "ff_out": "mlp.down_proj",
        "attn_norm": "input_layernorm",
        "ff_norm": "post_attention_layernorm",
    }
    top = {"wte": "model.embed_tokens", "ln_f": "model.norm", "ff_out": "lm_head"}
    tensors = {}
    for name, tensor in tensors_of(GOLDEN).items():
        parts = name.split(".")
        if parts[2] == "blocks":
            tensors[f"model.layers.{parts[3]}.{blocks[parts[4]]}.weight"] = tensor
        else:
            tensors[f"{top[parts[2]]}.weight"] = tensor
    for name, tensor in tower.state_dict().items():
        if not name.startswith(("encoder.layers.2.", "head.")):
            tensors[f"model.vision_tower.vision_tower.vision_model.{name}"] = tensor.contiguous()
    generator = torch.Generator().manual_seed(2)
    for name, shape in {"0.weight": (64, 32), "0.bias": (64,), "2.weight": (64, 64), "2.bias": (64,)}.items():
        tensors[f"model.mm_projector.{name}"] = torch.randn(shape, generator=generator)
    tensors["model.image_newline"] = torch.randn(64, generator=generator)
    folder = tmp_path / "llada-v"
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(llada_v_config()))
    return folder, tensors


class TestLLaDAV:
    @torch.no_grad()
    def test_the_text_core_and_the_features_are_its_own(self, llada_v, siglip, tower, tmp_path):
        folder, tensors = llada_v
        report = assemble_llada_v(folder, tmp_path / "out", vision=siglip, tokenizer=False)
        model = GeoDiTForMaskedDiffusion.from_pretrained(tmp_path / "out").eval()
        assert (report.initialized, report.unused) == ((), ())
        logits = model(EXPECTED["forward.input_ids"]).logits
        torch.testing.assert_close(logits, EXPECTED["forward.logits"], atol=1e-5, rtol=0)

        pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        features = tower(pixels, output_hidden_states=True).hidden_states[-2]
        hidden = torch.nn.functional.gelu(
            features @ tensors["model.mm_projector.0.weight"].T + tensors["model.mm_projector.0.bias"]
        )
        expected = hidden @ tensors["model.mm_projector.2.weight"].T + tensors["model.mm_projector.2.bias"]
        own = model.model.multi_modal_projector(
            model.model.vision_tower(pixels, output_hidden_states=True).hidden_states[-1]
        )
        torch.testing.assert_close(own, expected)
        assert model.config.vision_feature_layer == -1
        assert model.config.vision_config.num_hidden_layers == 2
        assert not model.config.vision_post_layernorm
        assert torch.equal(model.model.image_newline, tensors["model.image_newline"])

    def test_its_processor_cuts_images_as_it_was_trained(self, llada_v, siglip, tokenizer, tmp_path):
        folder, _ = llada_v
        ids = {name: getattr(tokenizer, name) for name in ("mask_token_id", "eos_token_id", "pad_token_id")}
        (folder / "config.json").write_text(json.dumps(llada_v_config(**ids)))
        tokenizer.save_pretrained(folder)
        assemble_llada_v(folder, tmp_path / "out", vision=siglip, location_bins=20)
        model = GeoDiTForMaskedDiffusion.from_pretrained(tmp_path / "out").eval()
        processor = GeoDiTProcessor.from_pretrained(tmp_path / "out")
        assert processor.vision_aspect_ratio == model.config.vision_aspect_ratio == "anyres_max_4"
        square, wide = Image.new("RGB", (32, 32)), Image.new("RGB", (90, 30))
        # 2 x 2 patches of the whole picture, the same of its one tile, and a newline behind both rows of that.
        assert processor.count_image_tokens((32, 32)) == 4 + 2 * (2 + 1)
        inputs = processor(images=[square, wide], text=["ship", "ship"], task="detect", return_tensors="pt")
        counts = (inputs["input_ids"] == model.config.image_token_id).sum(-1).tolist()
        assert counts == [processor.count_image_tokens(size) for size in ((32, 32), (30, 90))]
        assert counts[0] != counts[1]
        output = model.generate(**inputs, max_new_tokens=8, max_denoising_steps=2)
        assert output.shape == (2, inputs["input_ids"].shape[1] + 8)

    def test_wrong_ids_are_passed_over_and_said(self, llada_v, siglip, tmp_path):
        report = assemble_llada_v(llada_v[0], tmp_path / "out", vision=siglip, tokenizer=False)
        assert any("bos_token_id=128000 of config.json is passed over" in note for note in report.notes)
        config = json.loads((tmp_path / "out" / "config.json").read_text())
        assert (config["bos_token_id"], config["eos_token_id"], config["mask_token_id"]) == (None, 500, 511)

    def test_its_text_core_alone_is_a_text_core(self, llada_v, siglip, tmp_path):
        folder, tensors = llada_v
        text = {name: t for name, t in tensors.items() if name.startswith(("model.layers", "model.e", "model.n", "l"))}
        save_file(text, folder / "model.safetensors")
        assemble(folder, siglip, tmp_path / "out", tokenizer=False)
        disassemble(tmp_path / "out", tmp_path / "back")
        back = tensors_of(tmp_path / "back")
        assert all(torch.equal(tensor, back[name]) for name, tensor in tensors_of(GOLDEN).items())

    def test_without_a_tower_of_its_own_it_takes_siglips(self, llada_v, siglip, tmp_path):
        folder, tensors = llada_v
        save_file({n: t for n, t in tensors.items() if "vision_tower" not in n}, folder / "model.safetensors")
        assemble_llada_v(folder, tmp_path / "out", vision=siglip, tokenizer=False)
        model = GeoDiTForMaskedDiffusion.from_pretrained(tmp_path / "out")
        assert model.config.vision_feature_layer == -2
        assert model.config.vision_config.num_hidden_layers == 3

    def test_what_does_not_fit_is_listed(self, llada_v, siglip, tmp_path):
        folder, tensors = llada_v
        del tensors["model.image_newline"]
        tensors["model.mm_projector.4.weight"] = torch.zeros(1)
        tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(3, 3)
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(ValueError, match="does not hold the tensors it declares") as error:
            assemble_llada_v(folder, tmp_path / "out", vision=siglip, tokenizer=False)
        assert "model.mm_projector.4.weight: unknown" in str(error.value)
        assert "model.layers.0.mlp.up_proj.weight: shape (3, 3)" in str(error.value)
        assert "model.image_newline: missing" in str(error.value)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"mm_projector_type": "linear"}, "mm_projector_type='linear' is not supported"),
            ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
            ({"hidden_size": "64"}, "hidden_size='64' must be a positive integer"),
            ({"model_type": "llava_qwen"}, "type 'llava_qwen'"),
            ({"image_aspect_ratio": "pad"}, "image_aspect_ratio='pad' is not supported"),
            ({"mm_patch_merge_type": "flat"}, "mm_patch_merge_type='flat' is not supported"),
            ({"image_grid_pinpoints": "6x6"}, "image_grid_pinpoints='6x6'"),
            ({"mm_vision_select_layer": -3}, "2 layers of a vision tower, but the one described has 3"),
            ({"mask_token_id": None}, "mask_token_id is declared nowhere"),
        ],
    )
    def test_a_configuration_that_cannot_be_converted_is_refused_by_name(
        self, llada_v, siglip, tmp_path, changes, message
    ):
        (llada_v[0] / "config.json").write_text(json.dumps(llada_v_config(**changes)))
        with pytest.raises(ValueError, match=message):
            assemble_llada_v(llada_v[0], tmp_path / "out", vision=siglip, tokenizer=False)

    def test_the_tower_must_be_named_somewhere(self, llada_v, tmp_path):
        (llada_v[0] / "config.json").write_text(json.dumps(llada_v_config(mm_vision_tower=None)))
        with pytest.raises(ValueError, match="does not say which vision tower it has"):
            assemble_llada_v(llada_v[0], tmp_path / "out", tokenizer=False)


class TestGeometries:
    @pytest.mark.parametrize("num_kv_heads", [1, 2])
    def test_grouped_key_value_heads(self, siglip, tmp_path, num_kv_heads):
        narrow = {
            f"model.transformer.blocks.{layer}.{name}.weight": torch.randn(16 * num_kv_heads, 64)
            for layer in range(3)
            for name in ("k_proj", "v_proj")
        }
        source = golden_copy(tmp_path / "llada", **narrow)
        config = json.loads((source / "config.json").read_text()) | {"n_kv_heads": num_kv_heads}
        (source / "config.json").write_text(json.dumps(config))
        assemble(source, siglip, tmp_path / "out", tokenizer=False)
        model = GeoDiTForMaskedDiffusion.from_pretrained(tmp_path / "out")
        assert model.config.text_config.num_key_value_heads == num_kv_heads
        disassemble(tmp_path / "out", tmp_path / "back")
        assert json.loads((tmp_path / "back" / "config.json").read_text())["n_kv_heads"] == num_kv_heads

    def test_tied_weights_stay_tied(self, siglip, tmp_path):
        source = golden_copy(tmp_path / "llada", **{"model.transformer.ff_out.weight": None})
        config = json.loads((source / "config.json").read_text()) | {"weight_tying": True}
        (source / "config.json").write_text(json.dumps(config))
        assemble(source, siglip, tmp_path / "out", tokenizer=False)
        model = GeoDiTForMaskedDiffusion.from_pretrained(tmp_path / "out")
        assert model.lm_head.weight is model.get_input_embeddings().weight
        assert torch.equal(model.lm_head.weight, tensors_of(GOLDEN)[EMBEDDINGS])
        disassemble(tmp_path / "out", tmp_path / "back")
        assert tensors_of(tmp_path / "back").keys() == tensors_of(source).keys()

    def test_a_network_that_is_not_llamas_is_refused_by_name(self, siglip, tmp_path):
        source = golden_copy(tmp_path / "llada")
        config = json.loads((source / "config.json").read_text()) | {"alibi": True}
        (source / "config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match="alibi=True is not supported"):
            assemble(source, siglip, tmp_path / "out", tokenizer=False)

    def test_a_tower_of_another_network_is_refused_by_name(self, tmp_path):
        (tmp_path / "naflex").mkdir()
        (tmp_path / "naflex" / "config.json").write_text('{"model_type": "siglip2"}')
        with pytest.raises(ValueError, match=r"'siglip2'.*NaFlex.*fixed resolution"):
            assemble(GOLDEN, tmp_path / "naflex", tmp_path / "out", tokenizer=False)


class TestFolders:
    def test_a_failure_leaves_nothing_and_the_next_run_starts_clean(self, siglip, tmp_path):
        partial = tmp_path / f".out.geodit-{'0' * 32}"
        partial.mkdir()
        (partial / "left-by-a-killed-run.safetensors").write_bytes(b"junk")

        def fail(done, total):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            assemble(GOLDEN, siglip, tmp_path / "out", tokenizer=False, on_progress=fail)
        assert not list(tmp_path.iterdir())
        partial.mkdir()
        (partial / "left-by-a-killed-run.safetensors").write_bytes(b"junk")
        assemble(GOLDEN, siglip, tmp_path / "out", tokenizer=False)
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        assert [path.name for path in (tmp_path / "out").glob("*.safetensors")] == ["model.safetensors"]

    def test_a_folder_that_exists_is_never_written_to(self, siglip, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").touch()
        with pytest.raises(FileExistsError, match="name a new folder"):
            assemble(GOLDEN, siglip, tmp_path / "out", tokenizer=False)

    def test_a_name_that_is_neither_folder_nor_hub_id_is_refused(self, siglip, tmp_path):
        with pytest.raises(ValueError, match="There is no folder nowhere"):
            assemble("nowhere", siglip, tmp_path / "out")

    def test_pickled_weights_are_refused(self, siglip, tmp_path):
        source = golden_copy(tmp_path / "llada")
        (source / "model.safetensors").rename(source / "pytorch_model.bin")
        with pytest.raises(ValueError, match="Convert them"):
            assemble(source, siglip, tmp_path / "out", tokenizer=False)

    def test_from_pretrained_refuses_pickled_weights_too(self, assembled, tmp_path):
        shutil.copy(assembled[0] / "config.json", tmp_path)
        (tmp_path / "pytorch_model.bin").write_bytes(b"")
        with pytest.raises(ValueError, match="Convert them"):
            GeoDiTForMaskedDiffusion.from_pretrained(tmp_path)
        with pytest.raises(ValueError, match="use_safetensors=False is not supported"):
            GeoDiTForMaskedDiffusion.from_pretrained(assembled[0], use_safetensors=False)

    def test_loading_needs_no_more_than_the_weights(self, assembled):
        """`low_cpu_mem_usage`, `dtype="auto"` and `device_map`, as Transformers has them."""
        model = GeoDiTForMaskedDiffusion.from_pretrained(assembled[0], dtype="auto", device_map="cpu")
        assert not any(parameter.is_meta for parameter in model.parameters())
        assert model.dtype == torch.float32


def test_the_tower_of_a_vision_configuration_alone_is_read(tmp_path):
    from geodit.weights.conversion_siglip import read_siglip_vision_config

    SiglipVisionConfig(**VISION).save_pretrained(tmp_path)
    config = read_siglip_vision_config(tmp_path)
    assert {name: getattr(config, name) for name in VISION} == VISION
    assert config.vision_use_head is False

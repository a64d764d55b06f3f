# SPDX-License-Identifier: Apache-2.0
"""An image in tiles is encoded as LLaVA-OneVision encodes it, and works wherever one picture does."""

import copy
import math

import pytest
import torch
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration
from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

from geodit.configuration.configuration_geodit import GeoDiTConfig
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from on_device import OnDevice

V, MASK, IMAGE, EOS = 64, 60, 61, 62
TILE, SIDE = 8, 2  # pixels and patches on the side of a tile
N = SIDE**2
TEXT = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "bos_token_id": None,
    "eos_token_id": EOS,
    "pad_token_id": EOS,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": TILE,
    "patch_size": TILE // SIDE,
    "vision_use_head": False,
}
# (height, width): square, wide, tall, one pixel, a line of one pixel, and large enough to be scaled down.
SIZES = [(8, 8), (7, 30), (40, 9), (1, 1), (1, 300), (48, 48), (37, 45)]


def build_model(**fields):
    torch.manual_seed(0)
    config = GeoDiTConfig(
        **{
            "text_config": TEXT,
            "vision_config": VISION,
            "mask_token_id": MASK,
            "image_token_id": IMAGE,
            "bos_token_id": None,
            "eos_token_id": EOS,
            "pad_token_id": EOS,
            "vision_aspect_ratio": "anyres_max_4",
            "vision_feature_layer": -2,
            "vision_post_layernorm": False,
            **fields,
        }
    )
    model = GeoDiTForMaskedDiffusion(config).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        # Large weights give every position clear preferences: no choice hangs on rounding errors.
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.3, generator=generator)
    return OnDevice(model)


@pytest.fixture(scope="module", params=["full", "prefix"])
def model(request):
    return build_model(attention_mode=request.param)


def make_images(sizes, seed=0):
    """Random tiles for images of these sizes, each image's own whatever the batch."""
    config = build_model().config
    images = []
    for size in sizes:
        count = image_size_to_num_patches(size, config.image_grid_pinpoints, TILE)
        generator = torch.Generator().manual_seed(seed + 1000 * size[0] + size[1])
        images.append(torch.randn(count, 3, TILE, TILE, generator=generator))
    return {
        "pixel_values": torch.nn.utils.rnn.pad_sequence(images, batch_first=True),
        "image_sizes": torch.tensor(sizes),
    }


def make_batch(model, sizes, prompt_lengths):
    """Prompts behind the placeholders of their images, padded on the left."""
    images = make_images(sizes)
    with torch.no_grad():
        counts = [len(features) for features in model.get_image_features(**images).pooler_output]
    rows = []
    for count, length in zip(counts, prompt_lengths, strict=True):
        words = torch.randint(0, 50, (length,), generator=torch.Generator().manual_seed(length))
        rows.append(torch.cat([torch.full((count,), IMAGE), words]))
    length = max(map(len, rows))
    padded = [torch.nn.functional.pad(row, (length - len(row), 0), value=EOS) for row in rows]
    mask = [torch.nn.functional.pad(torch.ones_like(row), (length - len(row), 0)) for row in rows]
    return {"input_ids": torch.stack(padded), "attention_mask": torch.stack(mask), **images}


class TestFeatures:
    @torch.no_grad()
    @pytest.mark.parametrize("layer", [-1, -2])
    def test_are_those_of_llava_onevision_with_the_same_weights(self, layer):
        model = build_model(vision_feature_layer=layer).model
        config = LlavaOnevisionConfig(
            text_config={"model_type": "llama", **TEXT, "eos_token_id": EOS},
            vision_config={"model_type": "siglip_vision_model", **VISION},
            vision_feature_layer=layer,
            vision_aspect_ratio="anyres_max_4",
            image_grid_pinpoints=model.config.image_grid_pinpoints,
        )
        reference = OnDevice(LlavaOnevisionForConditionalGeneration(config).eval().model)
        reference.vision_tower.load_state_dict(model.vision_tower.state_dict())
        reference.multi_modal_projector.load_state_dict(model.multi_modal_projector.state_dict())
        reference.image_newline.data = model.image_newline.data
        images = make_images(SIZES)
        expected = reference.get_image_features(**images).pooler_output
        features = OnDevice(model).get_image_features(**images).pooler_output
        assert isinstance(features, tuple)
        assert len(features) == len(SIZES)
        for ours, theirs in zip(features, expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)

    @torch.no_grad()
    def test_begin_with_the_whole_image_and_end_every_row_with_the_newline(self, model):
        images = make_images([(TILE, 2 * TILE)])
        (features,) = model.get_image_features(**images).pooler_output
        tower = OnDevice(model.model.vision_tower)(images["pixel_values"][0], output_hidden_states=True)
        patches = tower.hidden_states[model.config.vision_feature_layer]
        whole, left, right = OnDevice(model.model.multi_modal_projector)(patches)
        newline = model.model.image_newline[None].cpu()
        rows = [torch.cat([left[row : row + SIDE], right[row : row + SIDE], newline]) for row in range(0, N, SIDE)]
        torch.testing.assert_close(features, torch.cat([whole, *rows]))

    @torch.no_grad()
    def test_the_border_that_fits_an_image_into_its_grid_leaves_no_features(self, model):
        # In a grid of 2 x 2 tiles an image half as high as wide keeps the two middle rows of patches.
        pinpoints = [[2 * TILE, 2 * TILE]]
        model = build_model(image_grid_pinpoints=pinpoints)
        pixel_values = torch.randn(1, 5, 3, TILE, TILE)
        (features,) = model.get_image_features(pixel_values, torch.tensor([[10, 20]])).pooler_output
        assert features.shape == (N + 2 * (4 + 1), 32)

    @torch.no_grad()
    def test_of_many_tiles_are_scaled_down_to_about_k(self, model):
        (features,) = model.get_image_features(**make_images([(6 * TILE, 6 * TILE)])).pooler_output
        side = math.isqrt(4 * N)
        assert len(features) == N + side * (side + 1)

    @torch.no_grad()
    def test_do_not_depend_on_the_other_images(self, model):
        together = model.get_image_features(**make_images(SIZES)).pooler_output
        for features, size in zip(together, SIZES, strict=True):
            (alone,) = model.get_image_features(**make_images([size])).pooler_output
            torch.testing.assert_close(features, alone)

    @torch.no_grad()
    def test_of_a_tower_without_its_last_layer_are_those_of_the_last_layer_but_one(self):
        """LLaVA deletes the layer that it does not use, and so do the checkpoints that it saves."""
        whole = build_model(vision_feature_layer=-2)
        shorter = build_model(vision_feature_layer=-1, vision_config={**VISION, "num_hidden_layers": 2})
        result = shorter.load_state_dict(whole.state_dict(), strict=False)
        assert result.missing_keys == []
        assert all(".encoder.layers.2." in key for key in result.unexpected_keys)
        images = make_images([(7, 30)])
        seen = [model.get_image_features(**images).pooler_output[0] for model in (shorter, whole)]
        assert torch.equal(*seen)


class TestNewline:
    def test_is_a_parameter_only_where_images_are_seen_in_tiles(self):
        assert "model.image_newline" in build_model().state_dict()
        square = build_model(vision_aspect_ratio="square")
        assert "model.image_newline" not in square.state_dict()
        assert square.model.image_newline is None

    def test_is_initialized_with_about_unit_length(self):
        newline = build_model(text_config={**TEXT, "hidden_size": 512}).model.image_newline
        assert newline.norm().item() == pytest.approx(1, abs=0.1)

    def test_comes_back(self, tmp_path):
        model = build_model()
        model.save_pretrained(tmp_path)
        loaded = OnDevice(GeoDiTForMaskedDiffusion.from_pretrained(tmp_path))
        assert torch.equal(loaded.model.image_newline, model.model.image_newline)
        assert loaded.config.image_grid_pinpoints == model.config.image_grid_pinpoints

    def test_is_made_for_a_checkpoint_that_has_none(self, tmp_path):
        square = build_model(vision_aspect_ratio="square")
        square.save_pretrained(tmp_path)
        grids = {"vision_aspect_ratio": "anyres_max_4", "image_grid_pinpoints": [[TILE, 2 * TILE]]}
        loaded = OnDevice(GeoDiTForMaskedDiffusion.from_pretrained(tmp_path, **grids))
        assert loaded.model.image_newline.norm().isfinite()
        assert torch.equal(loaded.lm_head.weight, square.lm_head.weight)
        with pytest.raises(Exception, match="give image_grid_pinpoints"):
            GeoDiTForMaskedDiffusion.from_pretrained(tmp_path, vision_aspect_ratio="anyres_max_4")

    def test_is_learnt(self):
        model = build_model()
        model.train()
        batch = make_batch(model, [(7, 30)], [3])
        model(**batch).logits.square().sum().backward()
        assert model.model.image_newline.grad.abs().sum() > 0


class TestGenerate:
    SIZES = [(7, 30), (48, 48), (1, 1)]
    LENGTHS = [5, 2, 7]

    @pytest.mark.parametrize("options", [{}, {"guidance_scale": 2.0}, {"block_length": 4}], ids=str)
    def test_images_of_any_sizes_are_answered_as_if_each_were_alone(self, model, options):
        batch = make_batch(model, self.SIZES, self.LENGTHS)
        assert not batch["attention_mask"].all()
        together = model.generate(**batch, max_new_tokens=8, **options)[:, -8:]
        for row, (size, length) in enumerate(zip(self.SIZES, self.LENGTHS, strict=True)):
            alone = model.generate(**make_batch(model, [size], [length]), max_new_tokens=8, **options)[:, -8:]
            assert torch.equal(together[row], alone[0])

    def test_encoded_images_serve_several_questions(self, model):
        batch = make_batch(model, self.SIZES, self.LENGTHS)
        expected = model.generate(**batch, max_new_tokens=8)
        images = {name: batch.pop(name) for name in ("pixel_values", "image_sizes")}
        with torch.no_grad():
            features = model.get_image_features(**images).pooler_output
            assert torch.equal(
                model(**batch, image_features=features, canvas_mask=batch["input_ids"] < 0).logits,
                model(**batch, **images, canvas_mask=batch["input_ids"] < 0).logits,
            )
        assert torch.equal(model.generate(**batch, image_features=features, max_new_tokens=8), expected)


class TestRefusals:
    def test_the_pictures_of_another_mode(self):
        tiled, square = build_model(), build_model(vision_aspect_ratio="square")
        images = make_images([(7, 30)])
        for model, arguments, message in (
            (tiled, {"pixel_values": images["pixel_values"]}, "'anyres_max_4'.*image_sizes.*and None"),
            (tiled, {"pixel_values": torch.zeros(1, 3, TILE, TILE)}, r"\(images, tiles, 3, H, W\).*\(1, 3, 8, 8\)"),
            (tiled, {**images, "image_sizes": torch.zeros(2, 2)}, r"image_sizes \(images, 2\).*\(2, 2\)"),
            (square, images, r"'square'.*\(images, 3, H, W\) alone.*Give the processor"),
        ):
            with pytest.raises(ValueError, match=message):
                model.get_image_features(**arguments)

    def test_fewer_tiles_than_the_grid_has(self):
        images = make_images([(7, 30)])
        images["pixel_values"] = images["pixel_values"][:, :3]
        with pytest.raises(ValueError, match=r"\[\[7, 30\]\] are seen in \[5\] tiles, but pixel_values hold 3"):
            build_model().get_image_features(**images)

    def test_placeholders_of_other_images(self, model):
        batch = make_batch(model, [(8, 8), (7, 30)], [3, 3])
        batch["input_ids"][0, -4] = 5
        with pytest.raises(ValueError, match=r"2 images given need \d+ \(10 \+ \d+\)"):
            model(**batch, canvas_mask=batch["input_ids"] < 0)

    def test_sizes_without_pictures(self, model):
        prompt = torch.tensor([[1, 2]])
        for call in (model, model.generate):
            with pytest.raises(ValueError, match="image_sizes describe pixel_values"):
                call(input_ids=prompt, image_sizes=torch.tensor([[8, 8]]))


def test_tiles_are_encoded_and_asked_about_without_reading_from_the_device():
    """On the meta device there is nothing to read."""
    model = copy.deepcopy(build_model().wrapped).to("meta")
    batch = make_batch(build_model(), SIZES, range(2, 2 + len(SIZES)))
    options = {"max_new_tokens": 4, "max_denoising_steps": 3, "capture_step": True}
    assert model.generate(**batch, **options).is_meta
    images = {name: batch.pop(name) for name in ("pixel_values", "image_sizes")}
    assert model.generate(**batch, image_prefix=model.encode_image(**images), **options).is_meta

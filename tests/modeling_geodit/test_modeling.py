# SPDX-License-Identifier: Apache-2.0
"""The network: one clean forward pass, whatever the padding, the attention backend or the way it was loaded."""

import pytest
import torch
from transformers import SiglipVisionModel

from defined_environment import DEVICE
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from on_device import OnDevice
from tiny_models import build_config, build_network

IMAGE, MASK, PAD = 3, 2, 1
N_IMAGE_TOKENS = 4


def make_model(**fields) -> OnDevice:
    config = build_config(
        text={"vocab_size": 50, "num_hidden_layers": 3, "num_attention_heads": 4, "initializer_range": 0.2},
        vision={"num_hidden_layers": 3, "image_size": 28, "patch_size": 14},
        **fields,
    )
    return OnDevice(build_network(config))


def make_inputs(prompt_length: int = 5, canvas_length: int = 6) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(prompt_length)
    prompt = torch.randint(4, 50, (1, prompt_length), generator=generator)
    input_ids = torch.cat(
        [torch.full((1, N_IMAGE_TOKENS), IMAGE), prompt, torch.full((1, canvas_length), MASK)], dim=1
    )
    return {
        "input_ids": input_ids,
        "pixel_values": torch.randn(1, 3, 28, 28, generator=generator),
        "attention_mask": torch.ones_like(input_ids),
        "canvas_mask": input_ids == MASK,
    }


def pad(inputs: dict[str, torch.Tensor], left: int, right: int) -> dict[str, torch.Tensor]:
    fill = {"input_ids": PAD, "attention_mask": 0, "canvas_mask": False}
    return {
        name: torch.nn.functional.pad(value, (left, right), value=fill[name]) if name in fill else value
        for name, value in inputs.items()
    }


@pytest.fixture(params=["full", "prefix"])
def attention_mode(request):
    return request.param


@torch.no_grad()
def test_padding_on_either_side_never_changes_a_result(attention_mode):
    model, inputs = make_model(attention_mode=attention_mode), make_inputs()
    expected = model(**inputs).logits
    padded = model(**pad(inputs, left=3, right=2)).logits[:, 3:-2]
    torch.testing.assert_close(padded, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_row_does_not_depend_on_its_neighbours(attention_mode):
    model, short, long = make_model(attention_mode=attention_mode), make_inputs(3), make_inputs(7)
    batch = {name: torch.cat([pad(short, left=4, right=0)[name], long[name]]) for name in short}
    logits = model(**batch).logits
    torch.testing.assert_close(logits[:1, 4:], model(**short).logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits[1:], model(**long).logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_eager_and_sdpa_attention_agree(attention_mode):
    model, inputs = make_model(attention_mode=attention_mode), pad(make_inputs(), left=2, right=1)
    results = {}
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        results[implementation] = model(**inputs).logits[:, 2:-1]
    torch.testing.assert_close(results["eager"], results["sdpa"], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_in_full_mode_every_token_sees_the_canvas_and_in_prefix_mode_only_the_canvas_does():
    inputs = make_inputs()
    changed = {**inputs, "input_ids": inputs["input_ids"].clone()}
    changed["input_ids"][0, -1] = 20  # a committed token
    prefix = slice(None), slice(None, -6)
    for mode, independent in (("full", False), ("prefix", True)):
        model = make_model(attention_mode=mode)
        before, after = model(**inputs).logits, model(**changed).logits
        assert torch.allclose(before[prefix], after[prefix], atol=1e-6) is independent
        assert not torch.allclose(before[:, -6:-1], after[:, -6:-1], atol=1e-6)


@torch.no_grad()
def test_in_prefix_mode_the_image_does_not_see_the_prompt():
    model, inputs = make_model(attention_mode="prefix"), make_inputs()
    changed = {**inputs, "input_ids": inputs["input_ids"].clone()}
    changed["input_ids"][0, N_IMAGE_TOKENS] = 21
    image = slice(None), slice(None, N_IMAGE_TOKENS)
    torch.testing.assert_close(model(**inputs).logits[image], model(**changed).logits[image])


@torch.no_grad()
def test_questions_that_share_a_row_get_the_answers_that_they_get_alone():
    model, first, second = make_model(attention_mode="prefix"), make_inputs(3), make_inputs(7)
    second["pixel_values"] = first["pixel_values"]
    n, lengths = N_IMAGE_TOKENS, (3 + 6, 7 + 6)
    shared = {
        name: torch.cat([first[name], second[name][:, n:]], dim=1)
        for name in ("input_ids", "attention_mask", "canvas_mask")
    }
    logits = model(
        **shared,
        pixel_values=first["pixel_values"],
        segment_ids=torch.tensor([[0] * n + [1] * lengths[0] + [2] * lengths[1]]),
        position_ids=torch.tensor([[*range(n + lengths[0]), *range(n, n + lengths[1])]]),
    ).logits
    torch.testing.assert_close(logits[:, : n + lengths[0]], model(**first).logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits[:, n + lengths[0] :], model(**second).logits[:, n:], atol=1e-5, rtol=1e-5)


def test_in_full_mode_questions_cannot_share_a_row():
    model, inputs = make_model(), make_inputs()
    with pytest.raises(ValueError, match=r"need attention_mode=\"prefix\""):
        model(**inputs, segment_ids=torch.zeros_like(inputs["input_ids"]))


def test_an_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="pixel_value"):
        make_model()(**make_inputs(), pixel_value=torch.zeros(1))


@torch.no_grad()
def test_forward_adds_no_noise():
    model, inputs = make_model(), make_inputs()
    model.train()
    assert torch.equal(model(**inputs).logits, model(**inputs).logits)


@torch.no_grad()
def test_images_encoded_beforehand_give_the_same_logits():
    model, inputs = make_model(), make_inputs()
    expected = model(**inputs).logits
    outputs = model.get_image_features(inputs.pop("pixel_values"))
    assert outputs.last_hidden_state.shape == (1, N_IMAGE_TOKENS, 16)
    assert outputs.pooler_output.shape == (1, N_IMAGE_TOKENS, 32)
    assert torch.equal(model(**inputs, image_features=outputs).logits, expected)
    assert torch.equal(model(**inputs, image_features=outputs.pooler_output).logits, expected)


@torch.no_grad()
@pytest.mark.parametrize("attention_mode", ["full", "prefix"])
def test_embeddings_of_the_tokens_give_the_same_logits(attention_mode):
    model, inputs = make_model(attention_mode=attention_mode), make_inputs()
    expected = model(**inputs).logits
    input_ids = inputs.pop("input_ids")
    embeds = OnDevice(model.get_input_embeddings())(input_ids)
    assert torch.equal(model(**inputs, inputs_embeds=embeds).logits, expected)
    assert torch.equal(model(**inputs, inputs_embeds=embeds, input_ids=input_ids).logits, expected)


@torch.no_grad()
def test_without_canvas_mask_all_text_is_prompt():
    model, inputs = make_model(attention_mode="prefix"), make_inputs()
    canvas_mask = inputs.pop("canvas_mask")
    logits = model(**inputs).logits
    assert torch.equal(logits, model(**inputs, canvas_mask=torch.zeros_like(canvas_mask)).logits)
    assert not torch.allclose(logits, model(**inputs, canvas_mask=canvas_mask).logits)
    assert model(input_ids=torch.tensor([[5, 6, 7]])).logits.shape == (1, 3, 50)


@torch.no_grad()
def test_forward_returns_what_the_tower_returned():
    model, inputs = make_model(), make_inputs()
    model.set_attn_implementation("eager")
    output = model(**inputs, output_hidden_states=True, output_attentions=True)
    tower = OnDevice(model.model.vision_tower)(inputs["pixel_values"], output_hidden_states=True)
    torch.testing.assert_close(output.image_outputs.hidden_states, tower.hidden_states)
    assert len(output.image_outputs.attentions) == 3
    assert output.image_hidden_states is output.image_outputs.pooler_output
    assert model(inputs["input_ids"][:, N_IMAGE_TOKENS:]).image_hidden_states is None


def test_a_tuple_comes_back_where_no_dictionary_is_wanted():
    model, inputs = make_model(), make_inputs()
    features = model.get_image_features(inputs["pixel_values"], return_dict=False)
    assert isinstance(features, tuple)
    assert isinstance(model(**inputs, return_dict=False), tuple)


def test_forward_keeps_no_cache():
    model, inputs = make_model(), make_inputs()
    assert torch.equal(model(**inputs, use_cache=False).logits, model(**inputs).logits)
    with pytest.raises(ValueError, match="forward\\(\\) keeps no cache"):
        model(**inputs, use_cache=True)


@pytest.mark.parametrize("function", ["forward", "get_image_features"])
def test_unknown_arguments_are_refused_by_name(function):
    model, inputs = make_model(), make_inputs()
    with pytest.raises(TypeError, match=f"{function}\\(\\) got unexpected keyword arguments: attn_mask"):
        getattr(model, function)(pixel_values=inputs["pixel_values"], attn_mask=None)


@torch.no_grad()
def test_logits_are_computed_only_where_they_are_asked_for():
    model, inputs = make_model(), make_inputs()
    everything = model(**inputs).logits
    torch.testing.assert_close(model(**inputs, logits_to_keep=6).logits, everything[:, -6:])
    chosen = inputs["canvas_mask"] & (torch.arange(15) % 2 == 0)
    torch.testing.assert_close(model(**inputs, logits_to_keep=chosen).logits, everything[chosen])
    places = chosen.nonzero(as_tuple=True)
    assert torch.equal(model(**inputs, logits_to_keep=places).logits, model(**inputs, logits_to_keep=chosen).logits)


def test_gradients_reach_image_features_through_their_places():
    model, inputs = make_model().model.train(), make_inputs()
    features = model.get_image_features(inputs["pixel_values"]).pooler_output.detach()
    embeds = model.get_input_embeddings()(inputs["input_ids"]).detach().requires_grad_()
    expected = model.place_image_features(inputs["input_ids"], embeds, features)
    learnt = features.clone().requires_grad_()
    placed = model.place_image_features(inputs["input_ids"], embeds, learnt)
    assert torch.equal(placed, expected)
    weights = torch.randn(placed.shape, generator=torch.Generator().manual_seed(0)).to(placed.device)
    of_embeds, of_features = torch.autograd.grad((placed * weights).sum(), [embeds, learnt])
    is_image = (inputs["input_ids"] == model.config.image_token_id).unsqueeze(-1).expand_as(placed)
    assert torch.equal(of_features.flatten(), weights[is_image])
    assert torch.equal(of_embeds, weights.masked_fill(is_image, 0))


def test_labels_give_the_mean_cross_entropy_of_the_labelled_positions():
    model, inputs = make_model(), make_inputs()
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[0, -2:] = torch.tensor([7, 8])
    output = model(**inputs, labels=labels)
    expected = -output.logits[0, -2:].log_softmax(-1)[[0, 1], [7, 8]].mean()
    torch.testing.assert_close(output.loss, expected)


@torch.no_grad()
@pytest.mark.parametrize(("layer", "post_layernorm"), [(-1, True), (-1, False), (-2, False), (-2, True), (1, False)])
def test_vision_features_are_those_of_the_stock_tower(layer, post_layernorm):
    model = make_model(vision_feature_layer=layer, vision_post_layernorm=post_layernorm)
    stock = OnDevice(SiglipVisionModel(model.config.vision_config).eval())
    stock.load_state_dict(model.model.vision_tower.state_dict())
    pixel_values = make_inputs()["pixel_values"]
    features = stock(pixel_values, output_hidden_states=True).hidden_states[layer]
    if post_layernorm:
        features = OnDevice(stock.post_layernorm)(features)
    expected = OnDevice(model.model.multi_modal_projector)(features)
    torch.testing.assert_close(model.get_image_features(pixel_values).pooler_output, expected)


def test_images_and_placeholders_must_match():
    model, inputs = make_model(), make_inputs()
    inputs["input_ids"][0, 0] = 9
    with pytest.raises(ValueError, match="holds 3 image tokens, but the 1 images given need 4"):
        model(**inputs)


def test_arguments_that_exclude_each_other_are_refused():
    model, inputs = make_model(), make_inputs()
    with pytest.raises(ValueError, match="pixel_values or image_features, not both"):
        model(**inputs, image_features=torch.zeros(1, 4, 32))
    with pytest.raises(ValueError, match="Give input_ids, inputs_embeds or both"):
        model(pixel_values=inputs["pixel_values"])


@torch.no_grad()
def test_save_and_load_in_another_dtype(tmp_path):
    model, inputs = make_model(), make_inputs()
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded = OnDevice(GeoDiTForMaskedDiffusion.from_pretrained(tmp_path))
    assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    half = OnDevice(GeoDiTForMaskedDiffusion.from_pretrained(tmp_path, dtype=torch.bfloat16, device_map=DEVICE))
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half(**inputs).logits.float(), model(**inputs).logits, atol=0.3, rtol=0.1)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = {}
    for checkpointing in (False, True):
        model, inputs = make_model(), make_inputs()
        model.train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.model.language_model.layers[0].gradient_checkpointing
        model(**inputs).logits.square().sum().backward()
        gradients[checkpointing] = {name: p.grad for name, p in model.named_parameters()}
    for name, gradient in gradients[False].items():
        torch.testing.assert_close(gradients[True][name], gradient, msg=name)


def test_every_parameter_gets_a_gradient():
    model, inputs = make_model(), make_inputs()
    model.train()
    model(**inputs).logits.square().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_tied_embeddings_are_one_tensor(tmp_path):
    model = make_model(tie_word_embeddings=True)
    assert model.lm_head.weight is model.model.language_model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    loaded = GeoDiTForMaskedDiffusion.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.model.language_model.embed_tokens.weight


@torch.no_grad()
def test_hidden_states_and_attentions_of_every_layer():
    model, inputs = make_model(), make_inputs()
    model.set_attn_implementation("eager")
    output = model(**inputs, output_hidden_states=True, output_attentions=True)
    assert [tuple(h.shape) for h in output.hidden_states] == [(1, 15, 32)] * 4
    assert [tuple(a.shape) for a in output.attentions] == [(1, 4, 15, 15)] * 3

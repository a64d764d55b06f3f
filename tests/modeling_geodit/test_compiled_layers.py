# SPDX-License-Identifier: Apache-2.0
"""`compile_step=True` compiles one layer for all, once for each set of shapes, and changes no token."""

import copy
import functools

import pytest
import torch

from decoding_cases import prompts_of
from defined_environment import DEVICE
from ending_model import IMAGE, build_ending_model
from geodit.modeling_geodit.compiled_layers_geodit import CompiledByShape
from geodit.modeling_geodit.fixed_network_geodit import PrefixNetwork
from geodit.modeling_geodit.layer_runs_geodit import run_layer
from geodit.modeling_geodit.prompts_geodit import embed_prompts
from geodit.modeling_geodit.tower_runs_geodit import TowerByLayer, is_stock_tower, run_tower_layer
from on_device import OnDevice

OPTIONS = {"max_new_tokens": 8, "max_denoising_steps": 5}
close = functools.partial(torch.testing.assert_close, atol=1e-5, rtol=1e-4)


@pytest.fixture
def compilations(monkeypatch):
    """The graphs that are compiled, which then run as they are: the compiler needs half a minute for each."""
    torch._dynamo.reset()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    def compile_with(function, dynamic, compile=torch.compile):
        return compile(function, dynamic=dynamic, backend=backend)

    monkeypatch.setattr(torch, "compile", compile_with)
    return graphs


@pytest.fixture
def model():
    """Of 3 layers of the text core, and 2 of the tower."""
    wrapped = copy.deepcopy(build_ending_model("prefix", num_layers=3, num_key_value_heads=1).wrapped)
    tower = wrapped.model.vision_tower
    tower.encoder.layers.append(copy.deepcopy(tower.encoder.layers[0]))
    tower.config.num_hidden_layers = 2
    return OnDevice(wrapped)


@pytest.fixture(params=[False, True], ids=["eager loop", "fixed steps"])
def check(request):
    """Compares the tokens with those of layers that are not compiled. Rows end one after the other."""

    def tokens(model, inputs, **options):
        expected, found = (
            model.generate(**inputs, **{**OPTIONS, **options}, capture_step=request.param, compile_step=compiled)
            for compiled in (False, True)
        )
        assert torch.equal(found, expected)

    return tokens


def times(layer, hidden_states, factor):
    return layer(hidden_states) * factor


class TestShapes:
    layers = [torch.nn.Linear(3, 3) for _ in range(3)]

    def test_they_are_compiled_once_however_many_they_are(self, compilations):
        run = CompiledByShape(times)
        for _ in range(2):
            for rows in range(1, 10):
                for layer in self.layers:
                    close(run(layer, torch.ones(rows, 3), 2), 2 * layer(torch.ones(rows, 3)))
        assert len(compilations) == 9

    def test_few_are_kept(self, compilations):
        run = CompiledByShape(times, most=2)
        for rows in (1, 2, 1, 3, 1, 2):  # 3 takes the place of 2, and 2 then that of 3
            run(self.layers[0], torch.ones(rows, 3), 2)
        assert len(compilations) == 4


class TestGenerate:
    def test_prompts_of_all_lengths_and_a_growing_canvas_need_the_same_code(self, model, check, compilations):
        for length in (3, 9, 20):
            check(model, prompts_of(3, length, seed=length))
        assert len(compilations) == 4  # tower, image, prompt and canvas
        check(model, prompts_of(3, 6, seed=1), initial_canvas_length=4, block_length=4)
        assert len(compilations) == 4
        check(model, prompts_of(3, 6, seed=1), guidance_scale=1.5)
        assert len(compilations) == 5  # and the prompt that says nothing

    def test_without_an_image_only_prompt_and_canvas_are_run_and_a_copy_has_its_own(self, model, check, compilations):
        inputs = prompts_of(3, 6, seed=0, with_image=False)
        check(model, inputs)
        assert len(compilations) == 2
        check(OnDevice(copy.deepcopy(model.wrapped)), inputs)
        assert len(compilations) == 4

    def test_what_cannot_be_run_layer_by_layer_runs_as_it_is(self, model, compilations, monkeypatch):
        said = []
        monkeypatch.setattr(
            "geodit.modeling_geodit.loop_choice_geodit.logger.warning_once", lambda text: said.append(text)
        )
        model.model.language_model.layers[0].register_forward_hook(lambda *_: None)
        model.model.vision_tower.encoder.layers[0].register_forward_hook(lambda *_: None)
        inputs = prompts_of(2, 6, seed=0)
        found = model.generate(**inputs, **OPTIONS, compile_step=True)
        assert torch.equal(found, model.generate(**inputs, **OPTIONS))
        assert compilations == []
        assert ["compile_step" in text and "hook" in text for text in said] == [True]


class TestImages:
    @pytest.mark.parametrize(("encoded_so", "asked_so"), [(True, False), (False, True)])
    def test_those_that_were_encoded_before_are_asked_alike(self, model, compilations, encoded_so, asked_so):
        inputs = prompts_of(2, 6, seed=3)
        pixel_values = inputs.pop("pixel_values")
        expected = model.generate(**inputs, image_prefix=model.encode_image(pixel_values), **OPTIONS)
        prefix = model.encode_image(pixel_values, compile_step=encoded_so)
        assert torch.equal(model.generate(**inputs, image_prefix=prefix, **OPTIONS, compile_step=asked_so), expected)
        assert len(compilations) == 2 * encoded_so + 2 * asked_so

    def test_the_generation_configuration_says_whether_to_compile(self, model, compilations):
        model.generation_config.compile_step = True
        model.encode_image(prompts_of(1, 6, seed=3)["pixel_values"])
        assert len(compilations) == 2


class TestTower:
    @pytest.mark.parametrize("kept", [(), [0], [-2], [1, 2, -1]])
    @torch.no_grad()
    def test_it_gives_what_the_tower_gives(self, model, compilations, kept):
        tower = model.model.vision_tower
        pixel_values = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).to(DEVICE)
        assert is_stock_tower(tower)
        found = TowerByLayer(tower, CompiledByShape(run_tower_layer))(pixel_values, output_hidden_states=kept)
        expected = tower(pixel_values, output_hidden_states=True, return_dict=True)
        close(found.last_hidden_state, expected.last_hidden_state)
        for index in kept:
            close(found.hidden_states[index], expected.hidden_states[index])
        assert len(compilations) == 1

    @pytest.mark.parametrize("post_layernorm", [False, True])
    def test_any_of_its_layers_may_be_what_is_projected(self, model, compilations, post_layernorm):
        model.config.vision_post_layernorm = post_layernorm
        pixel_values = prompts_of(2, 6, seed=0)["pixel_values"]
        for layer in (-1, -2, 0):
            model.config.vision_feature_layer = layer
            found = model.encode_image(pixel_values, compile_step=True).features
            close(found, model.encode_image(pixel_values).features)
        assert len(compilations) == 2  # a layer of the tower, and the prefix

    @pytest.mark.parametrize(
        "change",
        [
            lambda tower: tower.register_forward_hook(lambda *_: None),
            lambda tower: tower.encoder.layers[1].mlp.register_forward_pre_hook(lambda *_: None),
            lambda tower: setattr(tower.encoder.layers[0].mlp.fc1, "base_layer", torch.nn.Linear(1, 1)),
            lambda tower: setattr(tower.config, "_attn_implementation", "eager"),
            lambda tower: tower.encoder.layers.append(torch.nn.Identity()),
        ],
    )
    def test_one_with_something_added_is_left_alone(self, model, change):
        change(model.model.vision_tower)
        assert not is_stock_tower(model.model.vision_tower)


class TestSlots:
    @torch.no_grad()
    def test_any_number_of_prompts_is_loaded_by_the_same_code(self, model, compilations):
        networks = [PrefixNetwork(model.wrapped, 4, 64, 5, run) for run in (run_layer, CompiledByShape(run_layer))]
        canvas = torch.arange(20, device=DEVICE).view(4, 5)
        everywhere = torch.ones_like(canvas, dtype=torch.bool)
        for number, slots in enumerate([[2], [3, 0], [1, 2, 3], [0, 1, 2, 3]]):
            inputs = prompts_of(len(slots), 4 + 3 * number, seed=number)
            branches = self.branches_of(model.wrapped, **inputs)
            for network in networks:
                network.load(branches, torch.tensor(slots, device=DEVICE))
            found = [network(canvas, everywhere).view(4, 5, -1)[slots] for network in networks]
            close(found[1], found[0])
        assert len(compilations) == 3  # image, prompt and canvas

    def branches_of(self, model, input_ids, attention_mask, pixel_values):
        assert (input_ids == IMAGE).any()
        features = model.get_image_features(pixel_values.to(DEVICE)).pooler_output
        config = model.generation_config
        return embed_prompts(model, config, input_ids, attention_mask.bool(), features, None, 0, model.device)[0]

    def test_many_prompts_are_answered_alike(self, model, compilations):
        batches = [prompts_of(rows, 6, seed=rows) for rows in (2, 3, 2)]
        canvases = []
        for compiled in (False, True):
            answers = model.wrapped.generate_many(batches, **OPTIONS, capture_step=True, compile_step=compiled)
            canvases.append([answer.canvas for answer in sorted(answers, key=lambda answer: answer.index)])
        assert torch.equal(torch.stack(canvases[0]), torch.stack(canvases[1]))

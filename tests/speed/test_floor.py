# SPDX-License-Identifier: Apache-2.0
"""The floor does the least work, all of it, and nothing else."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from geodit.speed import floor as floor_module
from geodit.speed.contestants import FloorContestant
from geodit.speed.floor import Attention, Floor, Product
from geodit.speed.flops import count_flops
from geodit.speed.models import build_model


def vision_flops(shape, workload):
    """Of tower and projector, worked out on paper: two operations a weight and token, four a query and key."""
    B, n, d = workload.batch_size, workload.num_image_tokens, shape.hidden_size
    d_v, ff_v = shape.vision_hidden_size, shape.vision_intermediate_size
    patch_embedding = 2 * B * n * 3 * shape.patch_size**2 * d_v
    vision_layer = 2 * B * n * (4 * d_v**2 + 2 * d_v * ff_v) + 4 * B * n * n * d_v
    projector = 2 * B * n * (d_v * d + d * d)
    return patch_embedding + shape.vision_num_hidden_layers * vision_layer + projector


def least_flops(shape, workload):
    """The same of everything."""
    n, p, P, L = workload.num_image_tokens, workload.prompt_length, workload.prefix_length, workload.canvas_length
    B, R = workload.batch_size, workload.num_rows
    d, ff, layers, V = shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers, shape.vocab_size

    tokens, weights = B * n + R * p, 4 * d**2 + 3 * d * ff
    prefix_layer = 2 * tokens * weights + 4 * d * (B * n * n + R * p * P)
    prefix = (layers - 1) * prefix_layer + 2 * tokens * 2 * d**2

    canvas_layer = 2 * R * L * weights + 4 * d * R * L * (P + L)
    canvas = len(workload.masked_per_pass) * layers * canvas_layer
    vocabulary = 2 * R * d * V * sum(workload.masked_per_pass)
    return vision_flops(shape, workload) + prefix + canvas + vocabulary


def least_full_flops(shape, workload):
    """The same where everything is computed in every step, but of the last layer the queries of the canvas alone."""
    L, R, T = workload.canvas_length, workload.num_rows, workload.prefix_length + workload.canvas_length
    d, ff, layers, V = shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers, shape.vocab_size
    layer = 2 * R * T * (4 * d**2 + 3 * d * ff) + 4 * d * R * T * T
    last = 2 * R * T * 2 * d**2 + 2 * R * L * (2 * d**2 + 3 * d * ff) + 4 * d * R * L * T
    text = len(workload.masked_per_pass) * ((layers - 1) * layer + last)
    return vision_flops(shape, workload) + text + 2 * R * d * V * sum(workload.masked_per_pass)


@pytest.mark.parametrize("which", ["workload", "questions"])
@pytest.mark.parametrize("steps", [1, 3, 12])
@pytest.mark.parametrize("attention", ["prefix", "full"])
def test_its_work_is_that_of_the_formula(request, shape, model, which, steps, attention):
    workload = replace(request.getfixturevalue(which), steps=steps)
    floor = FloorContestant(model, workload, attention)
    expected = (least_flops if attention == "prefix" else least_full_flops)(shape, workload)
    assert Floor(model, workload, attention).flops == expected
    # What it says it does is what it does.
    assert count_flops(floor) == (expected, None)


@pytest.mark.parametrize("attention", ["prefix", "full"])
def test_it_marks_the_prefix_and_every_pass(model, workload, attention):
    marks = []
    Floor(model, workload, attention).run(marks.append)
    assert marks == [0, 1, 2, 3]


def test_off_cuda_a_captured_floor_makes_the_same_calls(model, workload):
    plain, graphed = (FloorContestant(model, workload, graphed=graphed) for graphed in (False, True))
    graphed.prepare()
    assert (plain.key, graphed.key) == ("floor", "floor-graphed")
    assert count_flops(graphed) == count_flops(plain)


def test_captured_parts_are_replayed_in_the_place_of_their_calls(model, workload, monkeypatch):
    captured, replayed = [], []

    def capture(parts, device):
        captured.extend(len(part) for part in parts)
        return [partial(replayed.append, index) for index in range(len(parts))]

    monkeypatch.setattr(floor_module, "capture", capture)
    floor = Floor(model, workload)
    floor._device = torch.device("cuda")
    floor.capture()
    marks = []
    floor.run(marks.append)
    assert captured == [len(floor.prefix), *(len(operations) for operations in floor.passes)]
    assert replayed == marks == [0, 1, 2, 3]


def test_layers_share_keys_and_values_where_those_are_more_than_a_processor_keeps(model, workload, monkeypatch):
    def pairs():
        passes = Floor(model, workload).passes[0]
        keys = {operation.keys.data_ptr() for operation in passes if isinstance(operation, Attention)}
        return len(keys)

    assert pairs() == 3
    of_one_layer = 2 * 4 * workload.num_rows * 32 * (workload.prefix_length + workload.canvas_length)
    monkeypatch.setattr(floor_module, "_BYTES_OF_CACHES", of_one_layer + 1)
    assert pairs() == 2


def test_of_the_last_layer_the_prefix_needs_keys_and_values_alone(model, workload):
    last = model.model.language_model.layers[-1]
    used = {
        operation.weight.data_ptr() for operation in Floor(model, workload).prefix if isinstance(operation, Product)
    }
    names = {name for name, weight in last.named_parameters() if weight.data_ptr() in used}
    assert names == {"self_attn.k_proj.weight", "self_attn.v_proj.weight"}


def test_every_weight_matrix_of_the_network_is_used(model, workload):
    floor = Floor(model, workload)
    operations = [*floor.prefix, *(operation for canvas in floor.passes for operation in canvas)]
    used = {operation.weight.data_ptr() for operation in operations if isinstance(operation, Product)}
    unused = [name for name, weight in model.named_parameters() if weight.dim() > 1 and weight.data_ptr() not in used]
    assert [name for name in unused if "embed" not in name] == []


def test_a_product_is_that_of_a_linear_layer():
    layer = torch.nn.Linear(3, 2)
    source, sink = torch.randn(20), torch.zeros(20)
    Product(4, layer.weight.detach(), layer.bias.detach()).bind(source, sink)()
    torch.testing.assert_close(sink[:8].view(4, 2), layer(source[:12].view(4, 3)).detach())
    assert (sink[8:] == 0).all()


def test_attention_is_that_of_queries_laid_out_token_by_token():
    source, keys, values = torch.randn(100), torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 4)
    result = Attention(4, 3, keys, values).bind(source, torch.empty(0))()
    assert result.shape == (2, 4, 3, 4)
    queries = source[:96].view(2, 3, 4, 4).transpose(1, 2)
    # Four heads of queries share two of keys.
    shared = [part.repeat_interleave(2, dim=1) for part in (keys, values)]
    torch.testing.assert_close(
        result, torch.nn.functional.scaled_dot_product_attention(queries, *shared), atol=1e-5, rtol=1e-5
    )


def test_it_runs_in_bfloat16(shape, workload, cpu):
    model = build_model(shape.config(4), torch.bfloat16, cpu)
    marks = []
    Floor(model, workload).run(marks.append)
    assert marks

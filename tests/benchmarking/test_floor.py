# SPDX-License-Identifier: Apache-2.0
"""The floor does the least work, all of it, and nothing else."""

from dataclasses import replace

import pytest
import torch

from geodit.benchmarking.contestants import FloorContestant
from geodit.benchmarking.floor import Attention, Floor, Product
from geodit.benchmarking.flops import count_flops
from geodit.benchmarking.models import build_model


def least_flops(shape, workload):
    """Worked out on paper, from sizes alone: two operations for each weight and token, four for each query and key."""
    n, p, P, L = workload.num_image_tokens, workload.prompt_length, workload.prefix_length, workload.canvas_length
    B, R = workload.batch_size, workload.num_rows
    d, ff, layers, V = shape.hidden_size, shape.intermediate_size, shape.num_hidden_layers, shape.vocab_size
    d_v, ff_v = shape.vision_hidden_size, shape.vision_intermediate_size

    patch_embedding = 2 * B * n * 3 * shape.patch_size**2 * d_v
    vision_layer = 2 * B * n * (4 * d_v**2 + 2 * d_v * ff_v) + 4 * B * n * n * d_v
    projector = 2 * B * n * (d_v * d + d * d)
    vision = patch_embedding + shape.vision_num_hidden_layers * vision_layer + projector

    tokens, weights = B * n + R * p, 4 * d**2 + 3 * d * ff
    prefix_layer = 2 * tokens * weights + 4 * d * (B * n * n + R * p * P)
    prefix = (layers - 1) * prefix_layer + 2 * tokens * 2 * d**2

    canvas_layer = 2 * R * L * weights + 4 * d * R * L * (P + L)
    canvas = len(workload.masked_per_pass) * layers * canvas_layer
    vocabulary = 2 * R * d * V * sum(workload.masked_per_pass)
    return vision + prefix + canvas + vocabulary


@pytest.mark.parametrize("which", ["workload", "questions"])
@pytest.mark.parametrize("steps", [1, 3, 12])
def test_its_work_is_that_of_the_formula(request, shape, model, which, steps):
    workload = replace(request.getfixturevalue(which), steps=steps)
    floor = FloorContestant(model, workload)
    expected = least_flops(shape, workload)
    assert Floor(model, workload).flops == expected
    # What it says it does is what it does.
    assert count_flops(floor) == (expected, None)


def test_it_marks_the_prefix_and_every_pass(model, workload):
    marks = []
    Floor(model, workload).run(marks.append)
    assert marks == [0, 1, 2, 3]


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

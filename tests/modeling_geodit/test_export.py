# SPDX-License-Identifier: Apache-2.0
"""The network as one graph: torch.compile, torch.export and the exporters of Transformers, with an image."""

import pytest
import torch
from transformers.exporters import DynamoConfig, DynamoExporter, OnnxConfig, OnnxExporter

from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from tiny_models import build_config, build_network

IMAGE, MASK, EOS = 3, 2, 1


def make_model(**fields) -> GeoDiTForMaskedDiffusion:
    sizes = {"image_size": 28, "patch_size": 14, "num_hidden_layers": 1}
    return build_network(build_config(text={"num_hidden_layers": 1}, vision=sizes, **fields))


@pytest.fixture(params=["full", "prefix"])
def model(request):
    return make_model(attention_mode=request.param)


@pytest.fixture
def inputs():
    input_ids = torch.tensor([[IMAGE] * 4 + [7, 8, MASK, MASK], [IMAGE] * 4 + [9, 10, MASK, EOS]])
    pixel_values = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(input_ids)
    return {"input_ids": input_ids, "pixel_values": pixel_values, "attention_mask": mask, "canvas_mask": mask.bool()}


@torch.no_grad()
def test_torch_compile_makes_one_graph(model, inputs):
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(**inputs).logits, model(**inputs).logits)
    assert model._can_compile_fullgraph


@torch.no_grad()
def test_torch_export_keeps_the_check_of_placeholders(model, inputs):
    exported = torch.export.export(model, (), inputs).module()
    torch.testing.assert_close(exported(**inputs).logits, model(**inputs).logits)
    inputs["input_ids"][0, 0] = 7
    with pytest.raises(RuntimeError):
        exported(**inputs)


@torch.no_grad()
@pytest.mark.parametrize(
    ("model", "exporter", "config"),
    # What goes to ONNX is the graph that the first one makes.
    [("full", DynamoExporter, DynamoConfig), ("prefix", OnnxExporter, OnnxConfig)],
    indirect=["model"],
)
def test_the_exporters_of_transformers_give_the_same_logits(model, inputs, exporter, config):
    expected = model(**inputs).logits
    exported = exporter().export(model, dict(inputs), config())
    # Up to Transformers 5.22 they return a program, which that of ONNX calls for a tuple.
    outputs = (exported.module() if isinstance(exported, torch.export.ExportedProgram) else exported)(**inputs)
    logits = outputs[0] if isinstance(outputs, tuple) else outputs.logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_in_tiles_images_are_encoded_outside_of_the_graph():
    model = make_model(vision_aspect_ratio="anyres_max_4", image_grid_pinpoints=[[28, 56]])
    assert not model._can_compile_fullgraph
    features = model.get_image_features(torch.randn(1, 3, 3, 28, 28), torch.tensor([[28, 56]])).pooler_output
    input_ids = torch.tensor([[IMAGE] * len(features[0]) + [7, MASK]])
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    expected = model(input_ids=input_ids, image_features=features).logits
    torch.testing.assert_close(compiled(input_ids=input_ids, image_features=features).logits, expected)

# SPDX-License-Identifier: Apache-2.0
"""Functions that are captured in their second run, and what a graph needs to stay valid."""

from contextlib import contextmanager

import pytest
import torch

from defined_environment import DEVICE
from ending_model import build_ending_model
from geodit.modeling_geodit.graph_capture_geodit import CapturedCalls, CapturedStep, capture_cuda_graph, run_again
from geodit.modeling_geodit.prompts_geodit import encode_pixels, pooled_features
from geodit.modeling_geodit.tower_runs_geodit import CapturedTower, TowerByLayer, run_tower_layer


class Recorder:
    """A capture that counts how often it was asked, and replays the function itself."""

    def __init__(self):
        self.captured = 0

    def __call__(self, function):
        self.captured += 1
        return function


def double(tensor):
    return tensor * 2


class TestCalls:
    def test_a_set_of_shapes_is_captured_when_it_comes_again(self):
        recorder = Recorder()
        calls = CapturedCalls(double, recorder)
        captured = []
        for number in range(3):
            tensor = torch.full((2,), number, device=DEVICE)
            assert calls(tensor).tolist() == [2 * number] * 2
            captured.append(recorder.captured)
        assert captured == [0, 1, 1]

    def test_other_shapes_and_types_have_graphs_of_their_own(self):
        recorder = Recorder()
        calls = CapturedCalls(double, recorder)
        for tensor in (torch.ones(2), torch.ones(3), torch.ones(2, dtype=torch.long)):
            for _ in range(2):
                assert torch.equal(calls(tensor.to(DEVICE)).cpu(), tensor * 2)
        assert recorder.captured == 3

    def test_the_shapes_that_were_used_longest_ago_make_room(self):
        recorder = Recorder()
        calls = CapturedCalls(double, recorder, most=1)
        for length in (2, 3, 2):
            calls(torch.ones(length, device=DEVICE))
        assert recorder.captured == 0

    def test_what_is_given_may_change_afterwards(self):
        calls = CapturedCalls(double, Recorder())
        for _ in range(2):
            given = torch.ones(2, device=DEVICE)
            doubled = calls(given)
            given.zero_()
            assert doubled.tolist() == [2, 2]


def test_what_cannot_be_captured_runs_on():
    def fail(function):
        raise RuntimeError("no graphs here")

    runs = []
    step = CapturedStep(lambda: runs.append(1), fail)
    for _ in range(3):
        step()
    assert len(runs) == 3


def test_a_graph_has_workspaces_of_its_own(monkeypatch):
    """Those of a stream are given up with any graph of the stream."""
    done = []

    class Graph:
        def replay(self):
            done.append("replay")

    @contextmanager
    def capture(graph, capture_error_mode):
        done.append("begin")
        yield
        done.append("end")

    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: done.append("clear"), raising=False)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    replay = capture_cuda_graph(lambda: done.append("run"))
    assert done == ["clear", "begin", "run", "end", "clear"]
    replay()
    assert done[-1] == "replay"


@pytest.mark.skipif(torch.device(DEVICE).type != "cuda", reason="graphs are those of CUDA")
def test_a_graph_is_still_right_when_another_one_is_gone():
    left, right = (torch.randn(256, 256, device=DEVICE) for _ in range(2))
    out = torch.empty_like(left)
    expected = left @ right

    def multiply():
        torch.mm(left, right, out=out)

    multiply()
    replay = capture_cuda_graph(multiply)
    other = capture_cuda_graph(lambda: left @ right)
    del other
    torch.cuda.empty_cache()
    out.zero_()
    replay()
    assert torch.allclose(out, expected)


class TestTower:
    @pytest.fixture
    def model(self):
        return build_ending_model("prefix", num_layers=1, num_key_value_heads=1).wrapped

    def features_of(self, model, pixels):
        return pooled_features(encode_pixels(model, pixels, None, compiled=False, captured=True))

    def test_its_features_are_those_of_the_tower_and_stay(self, model):
        size = model.config.vision_config.image_size
        images = torch.randn(3, 1, 3, size, size, generator=torch.Generator().manual_seed(0)).to(DEVICE)
        with torch.no_grad():
            captured = [self.features_of(model, image) for image in images]
            for image, features in zip(images, captured, strict=True):
                assert torch.allclose(features, model.get_image_features(image).pooler_output, atol=1e-6)

    def test_a_tower_in_use_elsewhere_is_not_waited_for(self, model):
        size = model.config.vision_config.image_size
        inner, outer = torch.randn(2, 1, 3, size, size, generator=torch.Generator().manual_seed(1)).to(DEVICE)
        stock = TowerByLayer(model.model.vision_tower, run_tower_layer)
        within = []

        def tower(pixels, **options):
            if not within:
                within.append(None)
                within[0] = captured(inner, output_hidden_states=(-1,)).hidden_states[-1]
            return stock(pixels, **options)

        captured = CapturedTower(tower, run_again)
        with torch.no_grad():
            found = captured(outer, output_hidden_states=(-1,)).hidden_states[-1]
            assert torch.equal(found, stock(outer, output_hidden_states=(-1,)).hidden_states[-1])
            assert torch.equal(within[0], stock(inner, output_hidden_states=(-1,)).hidden_states[-1])

# SPDX-License-Identifier: Apache-2.0
"""`pytest --device`: what runs where, so that a test which stays on the CPU does so on purpose."""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import BatchFeature

from defined_environment import DEVICE
from geodit.modeling_geodit.modeling_geodit import GeoDiTModelOutput
from on_device import OnDevice, moved

TESTS = Path(__file__).parent
FOLDERS = ("modeling_geodit", "pipelines", "trainers")
# Whatever gives a test its device: the fixtures, those of trainers/ that are built on them, and tests/support.
NAMES = {"DEVICE", "OnDevice", "device", "make_model", "make_trainer", "model_and_processor", "where_to_train"}
CPU_ONLY = {
    "modeling_geodit/tensor_parallel_client.py": "processes that talk by gloo",
    "modeling_geodit/test_export.py": "graphs that are made for the CPU",
    "modeling_geodit/test_tensor_parallel.py": "processes that talk by gloo",
    "trainers/distributed_client.py": "processes that talk by gloo",
    "trainers/resilience/killed_client.py": "is told where to train by the test that starts it",
    "trainers/resilience/test_checkpoint_guard.py": "files",
    "trainers/test_distributed.py": "processes that talk by gloo",
    "trainers/runs/test_memory_estimate.py": "counts by the profiler of the CPU",
    "trainers/test_samplers.py": "order of items",
    "trainers/two_processes_client.py": "processes that talk by gloo",
}


def names_in(path: Path) -> tuple[set[str], set[str]]:
    """The packages that a module imports, and all names in it that it does not define itself."""
    tree = ast.parse(path.read_text())
    imported, used, defined = set(), set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Name):
            used.add(node.id)
        elif isinstance(node, ast.arg):
            used.add(node.arg)
        elif isinstance(node, ast.FunctionDef) and not node.decorator_list:
            defined.add(node.name)
    return imported, used - defined


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_with_tensors_runs_on_the_tested_device_or_is_known_not_to(folder):
    for path in sorted((TESTS / folder).rglob("*.py")):
        imported, used = names_in(path)
        name = str(path.relative_to(TESTS))
        stays = name in CPU_ONLY
        if "torch" in imported:
            assert stays != bool(used & NAMES), f"{name}: take the fixture `device`, or name it in CPU_ONLY"


def test_what_stays_on_the_cpu_is_there():
    assert [name for name in CPU_ONLY if not (TESTS / name).is_file()] == []


def test_the_fixture_is_the_device_of_the_command_line(device, request):
    assert device == torch.device(DEVICE)
    assert device.type == request.config.getoption("device").partition(":")[0]


@dataclass(frozen=True)
class Pair:
    numbers: torch.Tensor
    name: str


def test_tensors_are_moved_wherever_they_are():
    tensor = torch.ones(2)
    whole = {
        "batch": BatchFeature({"input_ids": tensor}),
        "output": GeoDiTModelOutput(last_hidden_state=tensor, attentions=(tensor,)),
        "pairs": [Pair(tensor, "a"), (tensor, None, "b")],
    }
    found = moved(whole, "meta")
    assert found["batch"]["input_ids"].is_meta
    assert type(found["output"]) is GeoDiTModelOutput
    assert found["output"].last_hidden_state.is_meta
    assert found["output"].attentions[0].is_meta
    assert found["pairs"][0].numbers.is_meta
    assert found["pairs"][1][0].is_meta
    assert (found["pairs"][0].name, found["pairs"][1][1:]) == ("a", (None, "b"))
    assert not tensor.is_meta


def test_a_call_has_its_tensors_on_the_device_and_gives_them_back_on_the_cpu():
    seen = []

    def function(*args, **kwargs):
        seen.extend([*args, *kwargs.values()])
        return torch.ones(3)

    assert OnDevice(function, "meta")(torch.ones(1), scale=torch.ones(2)).device.type == "cpu"
    assert all(tensor.is_meta for tensor in seen)


def test_a_module_is_moved_with_what_it_is_called_with():
    layer = OnDevice(torch.nn.Linear(2, 2), "meta")
    assert layer.weight.is_meta
    assert layer.wrapped.bias.is_meta

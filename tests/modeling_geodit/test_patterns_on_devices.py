# SPDX-License-Identifier: Apache-2.0
"""A proposal of a pattern makes no device wait: nothing is read back, and what does not change is moved there once."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from geodit.modeling_geodit import patterns_geodit
from geodit.modeling_geodit.patterns_geodit import AutomatonPattern, BoxListPattern, CanvasLogits
from geodit.modeling_geodit.random_geodit import RowStreams
from on_device import moved

READ_BACK = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero", "aten::equal"}
NEW_FROM_PYTHON = {"aten::lift_fresh", "aten::lift_fresh_copy"}
PATTERNS = {
    "boxes": lambda: BoxListPattern(range(10), [20], [11, 12]),
    "automaton": lambda: AutomatonPattern([{1: 1, 2: 1, 5: 0}, {3: 0, 4: 2, 5: 1}, {}], [1, 2], [20, 21]),
}


class Waits(TorchDispatchMode):
    """Lists the operations for which the host waits for a device, or a device for the host."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        masks = name.startswith("aten::index") and len(args) > 1 and isinstance(args[1], (list, tuple))
        if masks and any(index is not None and index.dtype == torch.bool for index in args[1]):
            self.found.append(f"{name} by a mask")
        if name in READ_BACK | NEW_FROM_PYTHON:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def known_of(seed, device):
    generator = torch.Generator().manual_seed(seed)
    everywhere = torch.ones(3, 9, dtype=torch.bool)
    wanted = torch.rand(3, 9, generator=generator) < 0.6
    logits = torch.randn(int(wanted.sum()), 24, generator=generator)
    canvas = torch.zeros(3, 9, dtype=torch.long)
    return moved(CanvasLogits(logits, wanted, everywhere, canvas, frozenset({20, 23})), device)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_no_step_but_the_first_waits(name, temperature, device):
    random, pattern = RowStreams.spawn(3, torch.device(device), seed=0), PATTERNS[name]()
    pattern.propose(known_of(0, device), temperature=temperature, random=random)
    known = known_of(1, device)
    with Waits() as waits:
        pattern.propose(known, temperature=temperature, random=random)
    assert waits.found == []


def test_the_check_sees_what_waits(device):
    values = torch.arange(4, device=device)
    with Waits() as waits:
        values[values > 1] = 0
        bool((values > 1).any())
        torch.tensor([1, 2], device=device)
    assert len(waits.found) >= 3


@pytest.mark.parametrize("name", PATTERNS)
def test_what_is_suppressed_may_change_from_call_to_call(name, device):
    pattern, known = PATTERNS[name](), known_of(2, device)
    seen = set()
    for suppressed in (frozenset(), frozenset({1, 3}), frozenset(), frozenset({2, 4})):
        asked = CanvasLogits(known.logits, known.wanted, known.open, known.canvas, suppressed)
        tokens = pattern.propose(asked).tokens[known.wanted].tolist()
        assert tokens == PATTERNS[name]().propose(asked).tokens[known.wanted].tolist()
        seen.add(tuple(tokens))
    assert len(seen) == 3


@pytest.mark.parametrize("at_once", [1, 20])
def test_an_automaton_with_many_transitions_takes_few_positions_at_once(at_once, device, monkeypatch):
    known, whole = known_of(3, device), PATTERNS["automaton"]()
    monkeypatch.setattr(patterns_geodit, "_TRANSITIONS_AT_ONCE", at_once)
    in_parts = PATTERNS["automaton"]()
    expected, proposal = whole.propose(known), in_parts.propose(known)
    assert torch.equal(proposal.tokens[known.wanted], expected.tokens[known.wanted])
    assert torch.equal(proposal.may_end, expected.may_end)

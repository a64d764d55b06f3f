# SPDX-License-Identifier: Apache-2.0
"""A step that has logits of all positions decides what one with those of the wanted positions alone does.

Nothing of it is read by the host. B batch, L canvas length, K wanted positions, V vocabulary.
"""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from defined_environment import DEVICE
from geodit.configuration.generation_configuration_geodit import REMASKING_STRATEGIES, GeoDiTGenerationConfig
from geodit.modeling_geodit.choices_geodit import ChoicesPattern
from geodit.modeling_geodit.decoding_geodit import build_decoding_policy
from geodit.modeling_geodit.patterns_geodit import AutomatonPattern, BoxListPattern
from geodit.modeling_geodit.random_geodit import RowStreams
from geodit.modeling_geodit.step_rules_geodit import StepRules

V, MASK, EOS, OTHER_EOS = 16, 15, 14, 13
PATTERNS = {
    "none": lambda: None,
    "boxes": lambda: BoxListPattern(range(6), [EOS], [7, 8]),
    "automaton": lambda: AutomatonPattern([{1: 1, 2: 1, 5: 0}, {3: 0, 4: 2, 5: 1}, {}], [1, 2], [EOS, OTHER_EOS]),
    "choices": lambda: ChoicesPattern([(1,), (1, 2), (3, 4, 5), (12, 2)], [EOS]),
}
SELECTIONS = {
    "top-k": {},
    "threshold": {"confidence_threshold": 0.3},
    "entropy bound": {"entropy_bound": 1.0},
}


def build_rules(pattern, selection, remasking, temperature, fill_after_eos=True, suppress_tokens=(2,)):
    options = {**SELECTIONS[selection], "temperature": temperature, "suppress_tokens": list(suppress_tokens)}
    if selection == "entropy bound":
        remasking = "high_entropy"
    elif selection == "threshold" and remasking in ("random", "high_entropy"):
        remasking = "low_margin"
    config = GeoDiTGenerationConfig(remasking=remasking, **options)
    policy = build_decoding_policy(config, [MASK])
    return StepRules(policy, (EOS, OTHER_EOS), fill_after_eos, PATTERNS[pattern](), temperature)


class Step:
    """Canvas and logits of a batch in the middle of being denoised, the logits anew in each step."""

    def __init__(self, rows, length, seed, share=1.0):
        self.generator = torch.Generator().manual_seed(seed)
        self.share = share
        self.canvas = torch.full((rows, length), MASK, device=DEVICE)
        self.is_open = torch.ones(rows, length, dtype=torch.bool, device=DEVICE)
        self.draw()

    def draw(self):
        shape = (*self.canvas.shape, V)
        some = torch.rand(self.canvas.shape, generator=self.generator) < self.share
        self.wanted = self.is_open & some.to(DEVICE)
        self.logits = (3 * torch.randn(shape, generator=self.generator)).to(DEVICE)
        # What stands at other positions is arbitrary.
        self.logits[~self.wanted] = torch.nan

    @property
    def sparse(self):
        return self.logits[self.wanted].clone()

    @property
    def dense(self):
        return self.logits.flatten(0, 1).clone()

    @property
    def state(self):
        return self.canvas, self.is_open, self.wanted

    def commit(self, decision):
        self.canvas = torch.where(decision.transfer, decision.tokens, self.canvas)
        self.is_open = self.is_open & ~decision.transfer


def assert_equal(decision, expected):
    for field in dataclasses.fields(expected):
        values = getattr(decision, field.name), getattr(expected, field.name)
        assert torch.equal(*values), (field.name, values)


@settings(deadline=None, max_examples=40)
@given(
    pattern=st.sampled_from(sorted(PATTERNS)),
    selection=st.sampled_from(sorted(SELECTIONS)),
    remasking=st.sampled_from(sorted(REMASKING_STRATEGIES)),
    temperature=st.sampled_from([0.0, 0.7]),
    fill_after_eos=st.booleans(),
    suppress_tokens=st.sampled_from([(), (2,), (1, 2, 3)]),
    rows=st.integers(1, 3),
    length=st.integers(4, 9),
    share=st.sampled_from([1.0, 0.6, 0.2]),
    seed=st.integers(0, 2**20),
)
def test_it_decides_the_same(
    pattern, selection, remasking, temperature, fill_after_eos, suppress_tokens, rows, length, share, seed
):
    rules = build_rules(pattern, selection, remasking, temperature, fill_after_eos, suppress_tokens)
    random, step = RowStreams.spawn(rows, DEVICE, seed=seed), Step(rows, length, seed, share)
    for index in range(4):
        numbers, steps_left = random.at(index), 4 - index
        expected = rules.decide(step.sparse, *step.state, steps_left, numbers)
        left = torch.tensor(steps_left, device=DEVICE)
        assert_equal(rules.decide(step.dense, *step.state, left, numbers), expected)
        assert not (expected.transfer & ~step.wanted).any()
        probabilities = rules.answer_probabilities(step.sparse, *step.state)
        assert (probabilities is None) == (pattern != "choices")
        if probabilities is not None:
            assert torch.equal(rules.answer_probabilities(step.dense, *step.state), probabilities)
        step.commit(expected)
        step.draw()


KINDS = [
    *[("none", selection, remasking, 0.0) for selection in SELECTIONS for remasking in REMASKING_STRATEGIES],
    *[(pattern, "top-k", "random", 0.7) for pattern in PATTERNS],
    ("boxes", "top-k", "random", 0.0),
]
KINDS = [kind for kind in KINDS if kind[1] == "top-k" or kind[2] == "low_confidence"]


def decide(rules, keys, logits, canvas, is_open, wanted, steps_left):
    numbers = RowStreams(keys).at(steps_left)
    decision = rules.decide(logits, canvas, is_open, wanted, steps_left, numbers)
    return decision, rules.answer_probabilities(logits, canvas, is_open, wanted)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))
def test_one_graph_decides_every_step(kind):
    torch.compiler.reset()
    rules, step = build_rules(*kind), Step(2, 6, seed=1, share=0.7)
    keys = RowStreams.spawn(2, DEVICE, seed=0).keys
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    decide(rules, keys, step.dense, *step.state, 1)  # what does not change is moved to the device
    compiled = torch.compile(decide, fullgraph=True, backend=backend, dynamic=False)
    for steps_left in (3, 2, 1):
        left = torch.tensor(steps_left, device=DEVICE)
        decision, probabilities = compiled(rules, keys, step.dense, *step.state, left)
        expected, expected_probabilities = decide(rules, keys, step.sparse, *step.state, steps_left)
        assert_equal(decision, expected)
        if expected_probabilities is not None:
            assert torch.equal(probabilities, expected_probabilities)
        step.commit(decision)
        step.draw()
    assert len(graphs) == 1


def fake_step(rules, dense):
    """Decide a step of which nobody knows a value."""
    rows, length = 2, 6
    with FakeTensorMode(allow_non_fake_inputs=True):
        keys = torch.zeros(rows, dtype=torch.long, device=DEVICE)
        canvas = torch.zeros(rows, length, dtype=torch.long, device=DEVICE)
        is_open = torch.ones(rows, length, dtype=torch.bool, device=DEVICE)
        logits = torch.zeros(rows * length if dense else 5, V, device=DEVICE)
        return decide(rules, keys, logits, canvas, is_open, is_open.clone(), torch.ones((), dtype=torch.long))[0]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind)))
def test_no_value_is_read_by_the_host(kind):
    decision = fake_step(build_rules(*kind), dense=True)
    assert decision.transfer.shape == (2, 6)


def test_the_check_sees_what_is_read():
    with pytest.raises(DataDependentOutputException):
        fake_step(build_rules("none", "top-k", "low_confidence", 0.0), dense=False)

# SPDX-License-Identifier: Apache-2.0
"""Structured decoding against brute force over all canvases, and in `generate()`.

B rows, L canvas length, K wanted positions, V vocabulary.
"""

import functools
import itertools
import math
from functools import cache

import pytest
import scipy.stats
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ending_model import EOS, OTHER_EOS, PAD, V, build_ending_model
from geodit.modeling_geodit.choices_geodit import ChoicesPattern
from geodit.modeling_geodit.patterns_geodit import AutomatonPattern, BoxListPattern, CanvasLogits
from geodit.modeling_geodit.random_geodit import RowStreams
from on_device import DEVICE, OnDevice

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
fewer = settings(few, max_examples=15)
UNLIKELY = -1e9


class Language:
    """A pattern, and what it is to accept."""

    def __init__(self, pattern, accepts, vocabulary, eos):
        self.pattern, self._accepts, self.vocabulary, self.eos = pattern, accepts, vocabulary, eos

    def accepts(self, word):
        """Whether some tokens, none of them EOS, are an answer."""
        return self._accepts(tuple(word))

    def is_answer(self, canvas):
        """Whether a canvas is an answer, followed by EOS up to its end."""
        canvas = list(canvas)
        ends = [place for place, token in enumerate(canvas) if token in self.eos]
        end = ends[0] if ends else len(canvas)
        return self.accepts(canvas[:end]) and all(token in self.eos for token in canvas[end:])

    def answers(self, length):
        return [
            canvas for canvas in itertools.product(range(self.vocabulary), repeat=length) if self.is_answer(canvas)
        ]


def automaton(transitions, accepting, vocabulary, eos):
    def accepts(word):
        state = 0
        for token in word:
            state = transitions[state].get(token)
            if state is None:
                return False
        return state in accepting

    return Language(AutomatonPattern(transitions, accepting, eos), accepts, vocabulary, eos)


def boxes(locations, none, min_boxes, max_boxes, vocabulary, eos):
    place = {token: index for index, token in enumerate(locations)}

    def accepts(word):
        if none and word == tuple(none):
            return True
        count, rest = divmod(len(word), 4)
        if rest or count < min_boxes or (max_boxes is not None and count > max_boxes):
            return False
        if not all(token in place for token in word):
            return False
        values = [place[token] for token in word]
        return all(a < c and b < d for a, b, c, d in zip(*[iter(values)] * 4, strict=True))

    pattern = BoxListPattern(locations, eos, none, min_boxes, max_boxes)
    return Language(pattern, accepts, vocabulary, eos)


@st.composite
def automata(draw):
    vocabulary = draw(st.integers(3, 5))
    eos = [vocabulary - 1] if draw(st.booleans()) or vocabulary < 4 else [vocabulary - 1, vocabulary - 2]
    words = vocabulary - len(eos)
    states = draw(st.integers(1, 4))
    moves = st.dictionaries(st.integers(0, words - 1), st.integers(0, states - 1))
    transitions = draw(st.lists(moves, min_size=states, max_size=states))
    accepting = draw(st.lists(st.integers(0, states - 1), min_size=1, unique=True))
    try:
        language = automaton(transitions, accepting, vocabulary, eos)
    except ValueError:
        assume(False)
    length = draw(st.integers(1, 5))
    assume(language.pattern.min_length <= length)
    return language, length


@st.composite
def box_lists(draw):
    locations = draw(st.permutations([0, 1, 2]))[: draw(st.integers(2, 3))]
    eos = draw(st.sampled_from([[4], [4, 3]]))
    none = draw(st.sampled_from([(), (3,), (3, 3), (3, 0), (0, 3, 3)])) if eos == [4] else ()
    language = boxes(locations, none, 1, draw(st.sampled_from([None, 1])), 5, eos)
    length = draw(st.integers(language.pattern.min_length, 5 if len(locations) == 3 else 6))
    return language, length


@cache
def two_boxes():
    """All answers of one or two boxes of two locations each: brute force over the rest would take too long."""
    return boxes([1, 0], (2,), 1, None, 4, [3])


def describe(language, length, seed):
    """Two rows that are partly committed as a random answer is, with logits for some of the open positions."""
    generator = torch.Generator().manual_seed(seed)
    answers = language.answers(length)
    picked = torch.randint(len(answers), (2,), generator=generator)
    canvas = torch.tensor([answers[index] for index in picked.tolist()])
    is_open = torch.rand(canvas.shape, generator=generator) < torch.rand((), generator=generator)
    wanted = is_open & (torch.rand(canvas.shape, generator=generator) < 0.7)
    logits = 3 * torch.randn(int(wanted.sum()), language.vocabulary, generator=generator)
    if seed % 3 == 0:
        logits[torch.rand(logits.shape, generator=generator) < 0.3] = -torch.inf
    suppressed = frozenset({int(torch.randint(language.vocabulary, (), generator=generator))} if seed % 2 else {})
    canvas = canvas.masked_fill(is_open, language.vocabulary)
    return CanvasLogits(logits, wanted, is_open, canvas, suppressed), answers


def scores_of(known, row, answers):
    """The score of each answer that agrees with what is committed in a row."""
    grid = torch.zeros(*known.canvas.shape, known.logits.shape[1], dtype=torch.float64)
    logits = known.logits.double().clamp(min=UNLIKELY)
    if known.suppressed:
        logits[:, sorted(known.suppressed)] = UNLIKELY
    grid[known.wanted] = logits
    places, committed = range(known.canvas.shape[1]), known.canvas[row].tolist()
    return {
        answer: math.fsum(grid[row, place, answer[place]].item() for place in places)
        for answer in answers
        if all(known.open[row, place] or answer[place] == committed[place] for place in places)
    }


def check_agreement(known, proposal, row, scores):
    """What is proposed can be completed to an answer; returns the score of the best such."""
    seen = (known.wanted | ~known.open)[row]
    shown = tuple(proposal.tokens[row][seen].tolist())
    completions = [score for answer, score in scores.items() if tuple(torch.tensor(answer)[seen].tolist()) == shown]
    assert completions
    return max(completions)


class TestProposals:
    @few
    @given(automata() | box_lists(), st.integers(0, 2**20))
    def test_the_most_probable_answer_is_proposed(self, drawn, seed):
        language, length = drawn
        known, answers = describe(language, length, seed)
        proposal = OnDevice(language.pattern).propose(known)
        for row in range(2):
            scores = scores_of(known, row, answers)
            best = check_agreement(known, proposal, row, scores)
            assert best == pytest.approx(max(scores.values()), rel=1e-12, abs=1e-6)

    @few
    @given(automata() | box_lists(), st.integers(0, 2**20), st.sampled_from([1.0, 0.01]))
    def test_what_is_drawn_is_an_answer(self, drawn, seed, temperature):
        language, length = drawn
        known, answers = describe(language, length, seed)
        random = RowStreams.spawn(2, torch.device(DEVICE), seed=seed)
        proposal = OnDevice(language.pattern).propose(known, temperature=temperature, random=random)
        for row in range(2):
            check_agreement(known, proposal, row, scores_of(known, row, answers))

    @few
    @given(automata() | box_lists(), st.integers(0, 2**20))
    def test_it_is_known_where_an_answer_may_end(self, drawn, seed):
        language, length = drawn
        known, _ = describe(language, length, seed)
        proposal = OnDevice(language.pattern).propose(known)
        words = [token for token in range(language.vocabulary) if token not in language.eos]
        for row, place in itertools.product(range(2), range(length)):
            fronts = itertools.product(
                *[words if known.open[row, at] else [int(known.canvas[row, at])] for at in range(place)]
            )
            expected = any(not set(front) & set(language.eos) and language.accepts(front) for front in fronts)
            assert bool(proposal.may_end[row, place]) == expected

    def test_a_closed_set_has_just_its_members(self):
        members = [(0, 1), (0,), (0, 1, 2), (2, 2)]
        language = Language(ChoicesPattern([*members, (0, 1)], [3]), lambda word: word in members, 4, [3])
        for length, seed in itertools.product((1, 2, 4), range(8)):
            known, answers = describe(language, length, seed)
            proposal = OnDevice(language.pattern).propose(known)
            for row in range(2):
                scores = scores_of(known, row, answers)
                assert check_agreement(known, proposal, row, scores) == pytest.approx(max(scores.values()))

    def test_logits_are_left_alone(self, device):
        known, _ = describe(two_boxes(), 5, seed=1)
        before = known.logits.clone()
        two_boxes().pattern.propose(CanvasLogits(*(getattr(known, name).to(device) for name in FIELDS)))
        assert torch.equal(known.logits, before)

    def test_several_boxes_are_the_best_of_all(self):
        language = two_boxes()
        for seed in range(6):
            known, answers = describe(language, 8, seed)
            proposal = OnDevice(language.pattern).propose(known)
            for row in range(2):
                scores = scores_of(known, row, answers)
                assert check_agreement(known, proposal, row, scores) == pytest.approx(max(scores.values()))

    def test_a_canvas_shorter_than_a_box_says_that_there_is_none(self):
        language = boxes([0, 1, 2], (3, 3), 1, None, 5, [4])
        nothing = torch.zeros(1, 3, dtype=torch.long)
        known = CanvasLogits(torch.zeros(3, 5), nothing == 0, nothing == 0, nothing)
        assert OnDevice(language.pattern).propose(known).tokens.tolist() == [[3, 3, 4]]

    def test_a_full_canvas_stays_as_it_is(self):
        language = two_boxes()
        canvas = torch.tensor([[1, 1, 0, 0, 3], [2, 3, 3, 3, 3]])
        closed = torch.zeros_like(canvas, dtype=torch.bool)
        proposal = OnDevice(language.pattern).propose(CanvasLogits(torch.zeros(0, 4), closed, closed, canvas))
        assert torch.equal(proposal.tokens, canvas)


FIELDS = ("logits", "wanted", "open", "canvas")


class TestDrawing:
    @pytest.mark.parametrize(
        ("language", "length", "temperature"),
        [
            (automaton([{0: 1, 1: 0}, {0: 1, 1: 2, 2: 1}, {0: 0}], [1, 2], 4, [3]), 3, 1.0),
            (automaton([{0: 1, 1: 0}, {0: 1}], [0, 1], 4, [2, 3]), 3, 2.0),
            (boxes([0, 1, 2], (3,), 1, None, 5, [4]), 5, 1.5),
        ],
    )
    def test_answers_have_the_probabilities_that_they_have_among_answers(self, language, length, temperature, device):
        rows = 4000
        answers = language.answers(length)
        is_open = torch.ones(1, length, dtype=torch.bool)
        wanted = is_open.clone()
        wanted[0, 1] = False
        logits = torch.randn(length - 1, language.vocabulary, generator=torch.Generator().manual_seed(5))
        canvas = torch.zeros(1, length, dtype=torch.long)
        scores = scores_of(CanvasLogits(logits, wanted, is_open, canvas), 0, answers)
        weights = torch.tensor([scores[answer] / temperature for answer in answers], dtype=torch.float64)
        expected = rows * weights.softmax(0)

        many = CanvasLogits(
            logits.repeat(rows, 1), wanted.expand(rows, -1), is_open.expand(rows, -1), canvas.expand(rows, -1)
        )
        source = torch.Generator().manual_seed(7)
        random = RowStreams.spawn(rows, device, generator=source)
        tokens = OnDevice(language.pattern).propose(many, temperature=temperature, random=random).tokens
        counts = dict.fromkeys(answers, 0)
        for canvas in map(tuple, tokens.tolist()):
            counts[canvas] += 1  # a KeyError if it is no answer
        often = expected >= 5
        observed = torch.tensor([counts[answer] for answer in answers], dtype=torch.float64)
        pooled = [torch.cat([numbers[often], numbers[~often].sum().reshape(1)]) for numbers in (observed, expected)]
        statistic = ((pooled[0] - pooled[1]) ** 2 / pooled[1].clamp(min=1)).sum().item()
        assert scipy.stats.chi2.sf(statistic, len(pooled[0]) - 1) > 1e-3

    def test_a_suppressed_token_is_drawn_where_there_is_no_other(self, device):
        language = automaton([{0: 1}, {}], [1], 3, [2])
        nothing = torch.zeros(1, 2, dtype=torch.long)
        logits = torch.tensor([[0.0, 50.0, 900.0]] * 2)
        known = CanvasLogits(logits, nothing == 0, nothing == 0, nothing, frozenset({0}))
        random = RowStreams.spawn(1, device, seed=0)
        proposal = OnDevice(language.pattern).propose(known, temperature=0.01, random=random)
        assert proposal.tokens.tolist() == [[0, 2]]

    def test_drawing_needs_random_numbers(self):
        known, _ = describe(two_boxes(), 4, seed=0)
        with pytest.raises(ValueError, match="RowStreams"):
            two_boxes().pattern.propose(known, temperature=1.0)


class TestRefusals:
    def test_an_automaton_without_an_answer(self):
        with pytest.raises(ValueError, match="no answer"):
            AutomatonPattern([{0: 1}, {1: 1}, {}], [2], [5])

    def test_an_end_inside_an_answer(self):
        with pytest.raises(ValueError, match="token 5 ends an answer"):
            AutomatonPattern([{5: 0}], [0], [5])

    @pytest.mark.parametrize("pattern", [lambda: AutomatonPattern([{}], [0], []), lambda: BoxListPattern([1, 2], [])])
    def test_answers_that_never_end(self, pattern):
        with pytest.raises(ValueError, match="ends an answer"):
            pattern()

    @pytest.mark.parametrize("numbers", [(0, None), (3, 2)])
    def test_no_range_of_numbers_of_boxes(self, numbers):
        with pytest.raises(ValueError, match="min_boxes"):
            BoxListPattern([1, 2], [3], (), *numbers)


build_model = functools.partial(build_ending_model, num_layers=2, num_key_value_heads=2)


def prompts(rows, seed):
    """Words, padded on the left."""
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(0, 20, (rows, 6), generator=generator)
    attention_mask = torch.ones_like(input_ids)
    for row in range(rows):
        attention_mask[row, : row % 4] = 0
    return {"input_ids": input_ids.masked_fill(attention_mask == 0, PAD), "attention_mask": attention_mask}


def languages(eos):
    """Words of `[0-4]+ [5-9]` joined by 10, of which there is always one; and boxes."""
    words = {**dict.fromkeys(range(5), 1), 10: 0}
    moves = [dict.fromkeys(range(5), 1), {**dict.fromkeys(range(5, 10), 2), **words}, {10: 0}]
    moves[1].pop(10)
    return [automaton(moves, [2], V, eos), boxes(range(10, 22), (1, 2), 1, None, V, eos)]


@st.composite
def decodings(draw):
    """Whatever a policy may be."""
    length, steps = draw(st.integers(2, 14)), draw(st.integers(1, 8))
    options = {"max_new_tokens": length, "max_denoising_steps": steps}
    options |= draw(
        st.sampled_from(
            [
                {}, {"confidence_threshold": 0.3}, {"remasking": "high_entropy", "entropy_bound": 1.0},
                {"remasking": "random"}, {"remasking": "low_margin"}, {"temperature": 0.8},
                {"temperature": 0.8, "remasking": "random"}, {"guidance_scale": 2.0},
            ]
        )
    )  # fmt: skip
    block_length = draw(st.none() | st.integers(1, length))
    if block_length is not None and -(-length // block_length) <= steps:
        options["block_length"] = block_length
        if draw(st.booleans()):
            options["max_denoising_steps"] = length + steps
            options["initial_canvas_length"] = draw(st.integers(1, length))
    options["fill_after_eos"] = draw(st.booleans())
    options["eos_token_id"] = draw(st.sampled_from([[EOS], [EOS, OTHER_EOS]]))
    return options


def generate(attention_mode, batch, options, language, rows=None, **more):
    """The canvases of some rows, each of which draws from a stream of its own."""
    rows = range(len(batch["input_ids"])) if rows is None else rows
    chosen = {name: tensor[list(rows)] for name, tensor in batch.items()}
    streams = [torch.Generator().manual_seed(row) for row in rows]
    output = build_model(attention_mode).generate(
        **chosen, **options, answer_pattern=language.pattern, generator=streams, **more
    )
    return output[:, batch["input_ids"].shape[1] :]


class TestGenerate:
    @fewer
    @given(decodings(), st.integers(0, 1), st.integers(0, 99), st.sampled_from(["full", "prefix"]))
    def test_whatever_the_policy_every_row_is_an_answer_as_if_it_were_alone(self, options, which, seed, mode):
        language, batch = languages(options["eos_token_id"])[which], prompts(3, seed)
        canvases = generate(mode, batch, options, language)
        for row, canvas in enumerate(canvases.tolist()):
            assert language.is_answer(canvas), (row, canvas)
            assert generate(mode, batch, options, language, [row]).tolist() == [canvas]

    @fewer
    @given(decodings(), st.integers(0, 1), st.integers(0, 99))
    def test_the_cache_changes_no_token(self, options, which, seed):
        language, batch = languages(options["eos_token_id"])[which], prompts(2, seed)
        cached = generate("prefix", batch, options, language)
        assert torch.equal(cached, generate("prefix", batch, options, language, use_cache=False))

    @fewer
    @given(decodings(), st.integers(0, 1), st.integers(0, 99), st.data())
    def test_rows_may_have_canvases_of_different_length(self, options, which, seed, data):
        language, batch = languages(options["eos_token_id"])[which], prompts(3, seed)
        lengths = data.draw(st.lists(st.integers(2, options["max_new_tokens"]), min_size=3, max_size=3))
        canvases = generate("full", batch, options, language, canvas_lengths=lengths)
        for canvas, length in zip(canvases.tolist(), lengths, strict=True):
            assert language.is_answer(canvas[:length])
            assert set(canvas[length:]) <= {EOS}

    def test_without_the_pattern_they_would_be_no_answers(self):
        batch, (automaton_language, box_language) = prompts(3, 0), languages([EOS])
        plain = build_model("full").generate(**batch, max_new_tokens=9)[:, 6:].tolist()
        assert not any(language.is_answer(row) for language in (automaton_language, box_language) for row in plain)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_new_tokens": 3}, "shortest answer"),
            ({"max_new_tokens": 8, "canvas_lengths": [8, 3]}, "shortest answer"),
            ({"max_new_tokens": 8, "eos_token_id": OTHER_EOS}, "eos_token_id"),
        ],
    )
    def test_canvases_without_an_answer_are_refused_before_the_network_runs(self, options, message, monkeypatch):
        def never(*args, **kwargs):
            pytest.fail("the network ran")

        model, language = build_model("full"), boxes(range(10, 22), (), 1, None, V, [EOS])
        monkeypatch.setattr(model.wrapped.model, "forward", never)
        with pytest.raises(ValueError, match=message):
            model.generate(**prompts(2, 0), **options, answer_pattern=language.pattern)

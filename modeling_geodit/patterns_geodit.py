# SPDX-License-Identifier: Apache-2.0
"""Structured decoding: answers of a form, whatever the network says.

An [`AnswerPattern`] is a set of answers. In each step it proposes the most probable canvas that is one of them and
agrees with what has been committed, by the network's distributions of the positions: a Viterbi pass over the
positions of a row. Any part of such a proposal can be committed, as the rest of it is a completion. With a
temperature the canvas is drawn instead, each with its probability among those that are answers.

An answer ends with EOS, which fills the canvas after it; one that is as long as the canvas needs none. Positions that
the network was not asked about in a step are open: any token may come to stand there.

Shapes: B rows, L canvas length, K positions that there are logits of, V vocabulary, S states, C classes of tokens,
D transitions, n location tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from geodit.modeling_geodit.grids_geodit import DeviceTensors, Positions
from geodit.modeling_geodit.random_geodit import CANVAS, RowStreams, required, widest_float

__all__ = ["AnswerPattern", "AutomatonPattern", "BoxListPattern", "CanvasLogits", "PatternProposal", "TokenColumns"]

_BOX = 4
_UNLIKELY = -1e9
_TRANSITIONS_AT_ONCE = 2**18


class TokenColumns:
    """Tokens that a pattern asks the scores of. What has to be on a device is moved there once.

    Args:
        token_ids: The tokens, m of them.
    """

    def __init__(self, token_ids: Sequence[int]) -> None:
        self.token_ids = tuple(token_ids)
        self._ids = DeviceTensors(torch.tensor(self.token_ids))
        self._unwanted: dict[torch.device, tuple[frozenset[int], torch.Tensor | None]] = {}

    def on(self, device: torch.device) -> torch.Tensor:
        """`(m,)` int64, the tokens."""
        return self._ids.on(device)[0]

    def among(self, tokens: frozenset[int], device: torch.device) -> torch.Tensor | None:
        """`(m,)` bool, which of them are among others; `None` for none. It is remembered for the last others."""
        if device not in self._unwanted or self._unwanted[device][0] != tokens:
            found = None
            if not tokens.isdisjoint(self.token_ids):
                found = torch.tensor([token in tokens for token in self.token_ids], device=device)
            self._unwanted[device] = (tokens, found)
        return self._unwanted[device][1]


@dataclass(frozen=True)
class CanvasLogits:
    """What is known of a canvas when tokens are proposed for it.

    Args:
        logits: `(K, V)` float32 or bfloat16, of the wanted positions, in row-major order, or of all `B * L`, of which
            those that are not wanted have no meaning. They are not changed. With `places`, `(any number, V)`.
        wanted: `(B, L)` bool, the positions that the network was asked about, all of them open.
        open: `(B, L)` bool, the positions where nothing is committed.
        canvas: `(B, L)` int64, the tokens where it is not open.
        suppressed: Tokens that are proposed only where a pattern has no others; `(B, S)` int64 where rows differ, in
            which numbers from V on stand for no token.
        places: `(K,)` int64, where the K positions are among the logits; `None` for as they come.
    """

    logits: torch.Tensor
    wanted: torch.Tensor
    open: torch.Tensor
    canvas: torch.Tensor
    suppressed: frozenset[int] | torch.Tensor = frozenset()
    places: torch.Tensor | None = None
    positions: Positions = field(init=False, repr=False, compare=False)
    """Where the K positions are."""

    def __post_init__(self) -> None:
        count = len(self.logits if self.places is None else self.places)
        object.__setattr__(self, "positions", Positions(self.wanted, count))

    def columns(self, tokens: TokenColumns, temperature: float | torch.Tensor) -> torch.Tensor:
        """Scores of some tokens at all positions.

        Args:
            tokens: The tokens, m of them.
            temperature: What logits are divided by, unless it is 0; `(B,)` where rows differ, none of them 0.

        Returns:
            `(B, L, m)` float64 (float32 where the device has no double): the logit at wanted positions, 0 at other
            open ones, and where a token is committed 0 for this token and -inf for the others.
        """
        may_be = self.open.unsqueeze(-1) | (self.canvas.unsqueeze(-1) == tokens.on(self.canvas.device))
        grid = torch.zeros(may_be.shape, dtype=widest_float(may_be.device), device=may_be.device)
        return self.positions.placed(self.scaled(tokens, temperature), grid.masked_fill_(~may_be, -torch.inf))

    def scaled(self, tokens: TokenColumns, temperature: float | torch.Tensor) -> torch.Tensor:
        """`(K, m)`, the logits of some tokens: float32, or float64 where they are divided by a temperature."""
        ids = tokens.on(self.logits.device)
        if self.places is None:
            chosen = self.logits.index_select(-1, ids).float()
        else:
            chosen = self.logits[self.places.unsqueeze(-1), ids].float()
        if _draws(temperature):
            chosen = chosen.to(widest_float(chosen.device))
        # A pattern may have no other token than one that the network excludes: unlikely, but not impossible.
        chosen = chosen.clamp_(_UNLIKELY, -_UNLIKELY)
        if (unwanted := self._unwanted(tokens)) is not None:
            chosen = chosen.masked_fill_(unwanted, _UNLIKELY)
        if isinstance(temperature, torch.Tensor):
            return chosen / self._of_positions(temperature.unsqueeze(-1))
        return chosen / temperature if temperature > 0 else chosen

    def _unwanted(self, tokens: TokenColumns) -> torch.Tensor | None:
        """`(m,)` or `(K, m)` bool, which of some tokens are suppressed; `None` for none."""
        if not isinstance(self.suppressed, torch.Tensor):
            return tokens.among(self.suppressed, self.logits.device)
        num_rows, vocab_size = len(self.suppressed), self.logits.shape[-1]
        is_suppressed = torch.zeros((num_rows, vocab_size + 1), dtype=torch.bool, device=self.logits.device)
        is_suppressed.scatter_(1, self.suppressed.clamp(max=vocab_size), True)
        return self._of_positions(is_suppressed.index_select(1, tokens.on(self.logits.device)))

    def _of_positions(self, rows: torch.Tensor) -> torch.Tensor:
        """`(K, m)`, what the row of each position has, from `(B, m)`."""
        return self.positions.rows_of(rows.unsqueeze(1).expand(-1, self.wanted.shape[1], -1))


@dataclass(frozen=True)
class PatternProposal:
    """A canvas that a pattern proposes.

    Args:
        tokens: `(B, L)` int64; arbitrary where a position is neither wanted nor committed.
        may_end: `(B, L)` bool, where EOS may be first: what is committed in front of it can be completed to an answer
            that ends there. What is committed after it does not count.
    """

    tokens: torch.Tensor
    may_end: torch.Tensor


class AnswerPattern(ABC):
    """A set of answers. Two patterns are equal if they are of one class and made of the same."""

    min_length: int
    """Tokens of the shortest answer, without EOS."""

    eos_token_ids: tuple[int, ...]
    """Tokens that end an answer."""

    num_answers: int = 0
    """How many answers there are, where they are listed."""

    identity: tuple[Hashable, ...]
    """What the pattern was made of."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, AnswerPattern) and other.identity == self.identity

    def __hash__(self) -> int:
        return hash((type(self), self.identity))

    @abstractmethod
    def propose(
        self, known: CanvasLogits, *, temperature: float | torch.Tensor = 0.0, random: RowStreams | None = None
    ) -> PatternProposal:
        """Propose a whole canvas that agrees with the pattern and with what is committed.

        Args:
            known: The canvas. What is committed must be a part of some answer.
            temperature: 0 takes the most probable canvas, above 0 one is drawn; `(B,)`, all above 0, where rows
                differ.
            random: Random numbers of the step, for a temperature above 0.
        """

    def answer_probabilities(self, known: CanvasLogits) -> torch.Tensor | None:
        """Return how probable each answer is, where there are few of them that can be listed.

        Args:
            known: A canvas where nothing is committed.

        Returns:
            `(B, C)` float32, that of each of C answers, which sum to 1; `None` where answers are not listed.
        """
        del known
        return None

    def check_canvases(self, lengths: Sequence[int], eos_token_ids: Sequence[int]) -> None:
        """Refuse canvases that no answer fits on.

        Args:
            lengths: The lengths of the canvases in tokens.
            eos_token_ids: The tokens that end an answer there; the first of them fills what comes after.

        Raises:
            ValueError: If a canvas is shorter than the shortest answer, or is filled with a token that does not end
                answers of the pattern.
        """
        if not set(eos_token_ids[:1]) & set(self.eos_token_ids):
            raise ValueError(
                f"Answers of the pattern end with one of the tokens {list(self.eos_token_ids)}, but those of the "
                f"model with {list(eos_token_ids)}: make the pattern with the model's own eos_token_id."
            )
        if min(lengths) < self.min_length:
            raise ValueError(
                f"The shortest answer of the pattern has {self.min_length} tokens, but the canvas only "
                f"{min(lengths)}: raise max_new_tokens."
            )


class BoxListPattern(AnswerPattern):
    """Boxes of four location tokens x1, y1, x2, y2 with x1 < x2 and y1 < y2, one after the other, or no boxes.

    The two tokens of an axis depend on each other alone, so the best pair of each axis and box is found by itself: for
    each x2 the best x1 below it is a running maximum. No automaton with a state for each box is needed.

    Args:
        location_token_ids: `(n,)`, the location tokens by their coordinate.
        eos_token_ids: Tokens that end an answer.
        no_boxes_token_ids: The tokens of the word for no boxes; none if there must be one.
        min_boxes: Boxes of an answer at least, other than that word.
        max_boxes: Boxes of an answer at most; `None` for as many as fit.
    """

    def __init__(
        self,
        location_token_ids: Sequence[int],
        eos_token_ids: Sequence[int],
        no_boxes_token_ids: Sequence[int] = (),
        min_boxes: int = 1,
        max_boxes: int | None = None,
    ) -> None:
        if len(location_token_ids) < 2 or not eos_token_ids:
            raise ValueError("A pattern of boxes needs two location tokens or more, and a token that ends an answer.")
        if min_boxes < 1 or (max_boxes is not None and max_boxes < min_boxes):
            raise ValueError(f"min_boxes={min_boxes} and max_boxes={max_boxes} are no range of numbers from 1 on.")
        self.eos_token_ids = tuple(eos_token_ids)
        self._none = tuple(no_boxes_token_ids)
        self._tokens = TokenColumns([*location_token_ids, *eos_token_ids, *no_boxes_token_ids])
        self._sizes = (len(location_token_ids), len(self.eos_token_ids), len(self._none))
        self._min_boxes = min_boxes
        self._max_boxes = max_boxes
        self.identity = (*self._tokens.token_ids, self._sizes, min_boxes, max_boxes)
        boxes = _BOX * min_boxes
        self.min_length = min(boxes, len(self._none)) if self._none else boxes

    def propose(
        self, known: CanvasLogits, *, temperature: float | torch.Tensor = 0.0, random: RowStreams | None = None
    ) -> PatternProposal:
        """See [`AnswerPattern.propose`]."""
        choose = _Draw(required(random)) if _draws(temperature) else _Best()
        device, length = known.canvas.device, known.canvas.shape[1]
        locations, eos, none = self._tokens.on(device).split(self._sizes)
        location_scores, eos_scores, none_scores = known.columns(self._tokens, temperature).split(self._sizes, dim=-1)
        num_boxes = length // _BOX
        if self._max_boxes is not None:
            num_boxes = min(num_boxes, self._max_boxes)
        covered = num_boxes * _BOX

        axes = location_scores[:, :covered].unflatten(1, (num_boxes, 2, 2))
        # (B, boxes, corner, axis, n): x1 and y1, x2 and y2.
        pair_scores, low, high = choose.ordered_pair(axes[:, :, 0], axes[:, :, 1])
        boxes = torch.stack([low, high], dim=2).flatten(1)  # (B, 4 * boxes), places among the locations

        end_scores, end = choose.one(eos_scores)
        behind = _suffix_sums(end_scores)
        in_front = torch.nn.functional.pad(pair_scores.sum(-1).cumsum(-1), (1, 0))
        answers = in_front + behind[:, : covered + 1 : _BOX]
        answers[:, : self._min_boxes].fill_(-torch.inf)
        candidates = [answers]
        if self._none and len(self._none) <= length:
            word = none_scores[:, : len(none)].diagonal(dim1=1, dim2=2).sum(-1)
            candidates.append((word + behind[:, len(none)]).unsqueeze(-1))
        _, chosen = choose.one(torch.cat(candidates, dim=-1).unsqueeze(1))  # (B, 1)

        tokens = eos[end]
        is_none = chosen > num_boxes
        in_boxes = torch.arange(covered, device=device) < (chosen * _BOX).masked_fill(is_none, 0)
        tokens[:, :covered] = torch.where(in_boxes, locations[boxes], tokens[:, :covered])
        ends_here = torch.zeros((len(tokens), length + 1), dtype=torch.bool, device=device)
        ends_here[:, : covered + 1 : _BOX] = in_front.isfinite()
        ends_here[:, : _BOX * self._min_boxes].fill_(False)
        if len(candidates) == 2:
            tokens[:, : len(none)] = torch.where(is_none, none, tokens[:, : len(none)])
            ends_here[:, len(none)] |= word.isfinite()
        return PatternProposal(tokens, ends_here[:, :length])


class AutomatonPattern(AnswerPattern):
    """Answers that a deterministic automaton over tokens accepts.

    Args:
        transitions: For each state the tokens that lead on, and where to. The first state is 0.
        accepting: The states in which an answer may end.
        eos_token_ids: Tokens that end an answer.

    Raises:
        ValueError: If no answer is accepted, or a token that ends an answer stands in one.
    """

    num_states: int
    """S, which a step takes room for at each position."""
    num_moves: int
    """D, transitions between states by classes of tokens, which a step takes time for at each position."""

    def __init__(
        self, transitions: Sequence[Mapping[int, int]], accepting: Sequence[int], eos_token_ids: Sequence[int]
    ) -> None:
        if not eos_token_ids:
            raise ValueError("A pattern needs a token that ends an answer.")
        if inside := sorted({token for moves in transitions for token in moves} & set(eos_token_ids)):
            raise ValueError(f"The token {inside[0]} ends an answer, and cannot stand in one.")
        moves = _useful_moves(transitions, set(accepting))
        self.min_length = _shortest(moves, set(accepting))
        self.eos_token_ids = tuple(eos_token_ids)
        self.num_states = len(transitions) + 1
        end = len(transitions)
        # Tokens that lead from each state to the same state are one class. Class 0 is EOS.
        by_token: dict[int, list[tuple[int, int]]] = {}
        for state, targets in enumerate(moves):
            for token, target in targets.items():
                by_token.setdefault(token, []).append((state, target))
        classes: dict[tuple[tuple[int, int], ...], list[int]] = {}
        for token in sorted(by_token):
            classes.setdefault(tuple(by_token[token]), []).append(token)
        groups = [list(self.eos_token_ids), *classes.values()]
        self._num_kinds = len(groups)
        self._tokens = TokenColumns([token for group in groups for token in group])
        kind_of = torch.tensor([kind for kind, group in enumerate(groups) for _ in group])
        by_id, order = torch.tensor(self._tokens.token_ids).sort(stable=True)
        final = sorted(set(accepting))
        edges = [(state, 0, end) for state in [*final, end]]
        edges += [(state, 1 + index, target) for index, pairs in enumerate(classes) for state, target in pairs]
        self.identity = (self._tokens.token_ids, tuple(kind_of.tolist()), tuple(edges), tuple(final))
        source, edge_kind, target = torch.tensor(edges).T.contiguous()
        self.num_moves = len(edges)
        self._places_at_once = max(1, _TRANSITIONS_AT_ONCE // len(edges))
        self._kinds = DeviceTensors(kind_of, by_id, kind_of[order])
        self._moves = DeviceTensors(source, edge_kind, target)
        self._final = DeviceTensors(torch.tensor(final), torch.tensor([*final, end]))

    def propose(
        self, known: CanvasLogits, *, temperature: float | torch.Tensor = 0.0, random: RowStreams | None = None
    ) -> PatternProposal:
        """See [`AnswerPattern.propose`]."""
        choose = _Draw(required(random)) if _draws(temperature) else _Best()
        device, rows = known.canvas.device, len(known.canvas)
        kind_of, _, _ = self._kinds.on(device)
        source, edge_kind, target = self._moves.on(device)
        accepting, final = self._final.on(device)
        scores = known.scaled(self._tokens, temperature)  # (K, m)
        # Of so many positions at once as there is room for all transitions.
        kinds = self._kind_scores(known, scores, choose).split(self._places_at_once, dim=1)

        start = kinds[0].new_full((rows, self.num_states), -torch.inf)
        start[:, 0].fill_(0)
        history = [start]
        for part in kinds:
            for along in part.index_select(-1, edge_kind).unbind(1):  # (B, D)
                moves = history[-1].index_select(-1, source) + along
                history.append(choose.total(moves, target, self.num_states))
        states = torch.stack(history, dim=1)  # (B, L + 1, S)
        may_end = states[:, :-1].index_select(-1, accepting).isfinite().any(-1)
        _, place = choose.one(states[:, -1:].index_select(-1, final))
        state = final[place]  # (B, 1)

        edges = []
        begins = states[:, :-1].split(self._places_at_once, dim=1)
        for begin, part in zip(reversed(begins), reversed(kinds), strict=True):
            moves = begin.index_select(-1, source) + part.index_select(-1, edge_kind)  # (B, places, D)
            into = choose.each(moves, target, self.num_states)  # (B, places, S)
            for here, before in zip(reversed(into.unbind(1)), reversed(source[into].unbind(1)), strict=True):
                edges.append(here.gather(-1, state))
                state = before.gather(-1, state)
        chosen = edge_kind[torch.cat(edges[::-1], dim=1)]
        tokens = self._tokens.on(device)[choose.members(scores, known.positions, kind_of, chosen)]
        return PatternProposal(torch.where(known.open, tokens, known.canvas), may_end)

    def _kind_scores(self, known: CanvasLogits, scores: torch.Tensor, choose: _Best | _Draw) -> torch.Tensor:
        """`(B, L, C)`: the scores of classes, as [`CanvasLogits.columns`] has those of tokens, given `(K, m)`."""
        device, canvas = known.canvas.device, known.canvas.contiguous()
        kind_of, by_id, kind_by_id = self._kinds.on(device)
        nothing = torch.zeros((1, len(kind_of)), dtype=widest_float(device), device=device)
        unasked = choose.total(nothing, kind_of, self._num_kinds)
        grid = torch.where(known.open.unsqueeze(-1), unasked, -torch.inf)
        place = torch.searchsorted(by_id, canvas).clamp_(max=len(by_id) - 1)
        committed = kind_by_id[place].masked_fill(known.open | (by_id[place] != canvas), self._num_kinds)
        grid.masked_fill_(committed.unsqueeze(-1) == torch.arange(self._num_kinds, device=device), 0)
        return known.positions.placed(choose.total(scores, kind_of, self._num_kinds), grid)


class _Best:
    """Takes what has the highest score, the first of several."""

    def one(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One of the last dimension of `(B, M, m)`: what all come to, and the place of the one, both `(B, M)`."""
        best = scores.max(-1)
        return best.values, best.indices

    def total(self, scores: torch.Tensor, kind_of: torch.Tensor, num_kinds: int) -> torch.Tensor:
        """Return what the members of each class come to, `(..., C)` from `(..., m)`; -inf for one without any."""
        out = scores.new_full((*scores.shape[:-1], num_kinds), -torch.inf)
        return out.scatter_reduce_(-1, kind_of.expand_as(scores), scores, "amax")

    def each(self, scores: torch.Tensor, kind_of: torch.Tensor, num_kinds: int) -> torch.Tensor:
        """Return the place of the one of each class, `(B, M, C)` from `(B, M, m)`; any place for an empty class."""
        is_best = scores == self.total(scores, kind_of, num_kinds).index_select(-1, kind_of)
        last = scores.shape[-1] - 1
        places = torch.arange(last + 1, device=scores.device).masked_fill(~is_best, last)
        out = places.new_full((*scores.shape[:-1], num_kinds), last)
        return out.scatter_reduce_(-1, kind_of.expand_as(places), places, "amin")

    def members(
        self, scores: torch.Tensor, positions: Positions, kind_of: torch.Tensor, kinds: torch.Tensor
    ) -> torch.Tensor:
        """Return the place of the one of a class at each position.

        Args:
            scores: `(K, m)`, at some positions; 0 at the others.
            positions: Which positions those are.
            kind_of: `(m,)`, ascending, the class of each member.
            kinds: `(B, L)`, the class at each position.
        """
        found = torch.searchsorted(kind_of, kinds)
        within = scores.masked_fill(kind_of != positions.rows_of(kinds).unsqueeze(-1), -torch.inf)
        return positions.placed(within.max(-1).indices, found)

    def ordered_pair(self, low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Find the best a < b by `low[a] + high[b]`, both `(B, M, axes, n)`: score, a and b, each `(B, M, axes)`."""
        running = low[..., :-1].cummax(-1)
        best = (running.values + high[..., 1:]).max(-1)
        first = running.indices.gather(-1, best.indices.unsqueeze(-1)).squeeze(-1)
        return best.values, first, best.indices + 1


class _Draw:
    """Draws with the probabilities that scores are the logarithms of, by the Gumbel-max trick."""

    def __init__(self, random: RowStreams) -> None:
        self._random = random.at(CANVAS)
        self._draws = 0

    def one(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See [`_Best.one`]."""
        return scores.logsumexp(-1), self._gumbel(scores).argmax(-1)

    def total(self, scores: torch.Tensor, kind_of: torch.Tensor, num_kinds: int) -> torch.Tensor:
        """See [`_Best.total`]."""
        # Less the highest of its own class: an unlikely class does not vanish beside a likely one.
        peak = _Best().total(scores, kind_of, num_kinds).clamp(min=torch.finfo(scores.dtype).min)
        shares = (scores - peak.index_select(-1, kind_of)).exp()
        out = torch.zeros_like(peak)
        return out.scatter_add_(-1, kind_of.expand_as(scores), shares).log() + peak

    def each(self, scores: torch.Tensor, kind_of: torch.Tensor, num_kinds: int) -> torch.Tensor:
        """See [`_Best.each`]."""
        return _Best().each(self._gumbel(scores), kind_of, num_kinds)

    def members(
        self, scores: torch.Tensor, positions: Positions, kind_of: torch.Tensor, kinds: torch.Tensor
    ) -> torch.Tensor:
        """See [`_Best.members`]."""
        grid = scores.new_zeros((*kinds.shape, scores.shape[-1]))
        noisy = self._gumbel(positions.placed(scores, grid))
        return noisy.masked_fill_(kind_of != kinds.unsqueeze(-1), -torch.inf).argmax(-1)

    def ordered_pair(self, low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See [`_Best.ordered_pair`]."""
        scores = low[..., :-1].logcumsumexp(-1) + high[..., 1:]
        second = self._gumbel(scores).argmax(-1)
        below = torch.arange(low.shape[-1] - 1, device=low.device) <= second.unsqueeze(-1)
        first = self._gumbel(low[..., :-1].masked_fill(~below, -torch.inf)).argmax(-1)
        return scores.logsumexp(-1), first, second + 1

    def _gumbel(self, scores: torch.Tensor) -> torch.Tensor:
        uniform = self._random.at(self._draws).uniform(*scores.shape[1:])
        self._draws += 1
        return scores - uniform.log_().neg_().log_()


def _draws(temperature: float | torch.Tensor) -> bool:
    return isinstance(temperature, torch.Tensor) or temperature > 0


def _suffix_sums(scores: torch.Tensor) -> torch.Tensor:
    """`(B, L + 1)` from `(B, L)`: the sum from each place to the end; 0 after it."""
    return torch.nn.functional.pad(scores.flip(-1).cumsum(-1).flip(-1), (0, 1))


def _useful_moves(transitions: Sequence[Mapping[int, int]], accepting: set[int]) -> list[dict[int, int]]:
    """Return the transitions to states from which an answer can still end."""
    sources: list[set[int]] = [set() for _ in transitions]
    for state, moves in enumerate(transitions):
        for target in moves.values():
            sources[target].add(state)
    alive, pending = set(accepting), list(accepting)
    while pending:
        grown = sources[pending.pop()] - alive
        alive |= grown
        pending += grown
    return [
        {token: target for token, target in moves.items() if target in alive} if state in alive else {}
        for state, moves in enumerate(transitions)
    ]


def _shortest(moves: Sequence[Mapping[int, int]], accepting: set[int]) -> int:
    """Tokens of the shortest answer.

    Raises:
        ValueError: If there is none.
    """
    seen, reached, length = {0}, {0}, 0
    while reached:
        if reached & accepting:
            return length
        reached = {target for state in reached for target in moves[state].values()} - seen
        seen |= reached
        length += 1
    raise ValueError("The pattern has no answer that ends.")

# SPDX-License-Identifier: Apache-2.0
"""Structured decoding: answers of a form, whatever the network says.

An [`AnswerPattern`] is a set of answers. In each step it proposes the most probable canvas that is one of them and
agrees with what has been committed, by the network's distributions of the positions: a Viterbi pass over the
positions of a row. Any part of such a proposal can be committed, as the rest of it is a completion. With a
temperature the canvas is drawn instead, each with its probability among those that are answers.

An answer ends with EOS, which fills the canvas behind it; one that is as long as the canvas needs none. Positions that
the network was not asked about in a step are open: any token may come to stand there.

Shapes: B rows, L canvas length, K positions that the network was asked about, V vocabulary, S states, C classes of
tokens, D transitions, n location tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from geodit.modeling_geodit.random_geodit import RowGenerators, required, widest_float

_BOX = 4
_UNLIKELY = -1e9


@dataclass(frozen=True)
class CanvasLogits:
    """What is known of a canvas when tokens are proposed for it.

    Args:
        logits: `(K, V)` float32, of the wanted positions, in row-major order. They are not changed.
        wanted: `(B, L)` bool, the positions that the network was asked about, all of them open.
        open: `(B, L)` bool, the positions where nothing is committed.
        canvas: `(B, L)` int64, the tokens where it is not open.
        suppressed: Tokens that are proposed only where a pattern has no others.
    """

    logits: torch.Tensor
    wanted: torch.Tensor
    open: torch.Tensor
    canvas: torch.Tensor
    suppressed: frozenset[int] = frozenset()

    def columns(self, token_ids: torch.Tensor, temperature: float) -> torch.Tensor:
        """Scores of some tokens at all positions.

        Args:
            token_ids: `(m,)` int64, ascending within each use.
            temperature: What logits are divided by, unless it is 0.

        Returns:
            `(B, L, m)` float64 (float32 where the device has no double): the logit at wanted positions, 0 at other
            open ones, and where a token is committed 0 for this token and -inf for the others.
        """
        return self.fill(self.scaled(token_ids, temperature), token_ids)

    def scaled(self, token_ids: torch.Tensor, temperature: float) -> torch.Tensor:
        """`(K, m)`, the logits of some tokens, divided by the temperature."""
        chosen = self.logits.index_select(-1, token_ids).to(widest_float(self.logits.device))
        # A pattern may have no other token than one that the network excludes: unlikely, but not impossible.
        chosen = chosen.clamp(_UNLIKELY, -_UNLIKELY)
        if self.suppressed:
            unwanted = torch.isin(token_ids, torch.tensor(sorted(self.suppressed), device=token_ids.device))
            chosen = chosen.masked_fill(unwanted, _UNLIKELY)
        return chosen / temperature if temperature > 0 else chosen

    def fill(self, scores: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
        """The same grid, of scores `(K, m)` that are there already."""
        is_here = self.canvas.unsqueeze(-1) == token_ids
        grid = torch.where(is_here | self.open.unsqueeze(-1), 0.0, -torch.inf).to(scores.dtype)
        grid[self.wanted] = scores
        return grid


@dataclass(frozen=True)
class PatternProposal:
    """A canvas that a pattern proposes.

    Args:
        tokens: `(B, L)` int64; arbitrary where a position is neither wanted nor committed.
        may_end: `(B, L)` bool, where EOS may be first: what is committed in front of it can be completed to an answer
            that ends there. What is committed behind it does not count.
    """

    tokens: torch.Tensor
    may_end: torch.Tensor


class AnswerPattern(ABC):
    """A set of answers."""

    min_length: int
    """Tokens of the shortest answer, without EOS."""

    eos_token_ids: tuple[int, ...]
    """Tokens that end an answer."""

    @abstractmethod
    def propose(
        self, known: CanvasLogits, *, temperature: float = 0.0, random: RowGenerators | None = None
    ) -> PatternProposal:
        """Propose a whole canvas that agrees with the pattern and with what is committed.

        Args:
            known: The canvas. What is committed must be a part of some answer.
            temperature: 0 takes the most probable canvas, above 0 one is drawn.
            random: Random numbers, for a temperature above 0.

        """

    def answer_probabilities(self, known: CanvasLogits) -> torch.Tensor | None:
        """How probable each answer is, where there are few of them that can be listed.

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
            eos_token_ids: The tokens that end an answer there; the first of them fills what is behind.

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
        self._locations = tuple(location_token_ids)
        self.eos_token_ids = tuple(eos_token_ids)
        self._none = tuple(no_boxes_token_ids)
        self._min_boxes = min_boxes
        self._max_boxes = max_boxes
        boxes = _BOX * min_boxes
        self.min_length = min(boxes, len(self._none)) if self._none else boxes

    def propose(
        self, known: CanvasLogits, *, temperature: float = 0.0, random: RowGenerators | None = None
    ) -> PatternProposal:
        """See [`AnswerPattern.propose`]."""
        choose = _Best() if temperature == 0 else _Draw(required(random), len(known.canvas))
        device, length = known.canvas.device, known.canvas.shape[1]
        locations, eos = (torch.tensor(ids, device=device) for ids in (self._locations, self.eos_token_ids))
        num_boxes = length // _BOX
        if self._max_boxes is not None:
            num_boxes = min(num_boxes, self._max_boxes)

        axes = known.columns(locations, temperature)[:, : num_boxes * _BOX].unflatten(1, (num_boxes, 2, 2))
        # (B, boxes, corner, axis, n): x1 and y1, x2 and y2.
        pair_scores, low, high = choose.ordered_pair(axes[:, :, 0], axes[:, :, 1])
        boxes = torch.stack([low, high], dim=2).flatten(1)  # (B, 4 * boxes), places among the locations

        end_scores, end = choose.one(known.columns(eos, temperature))
        behind = _suffix_sums(end_scores)
        starts = torch.arange(num_boxes + 1, device=device) * _BOX
        in_front = torch.nn.functional.pad(pair_scores.sum(-1).cumsum(-1), (1, 0))
        answers = in_front + behind[:, starts]
        answers[:, : self._min_boxes] = -torch.inf
        candidates = [answers]
        if self._none and len(self._none) <= length:
            words = torch.tensor(self._none, device=device)
            places = torch.arange(len(words), device=device)
            word = known.columns(words, temperature)[:, places, places].sum(-1)
            candidates.append((word + behind[:, len(words)]).unsqueeze(-1))
        _, chosen = choose.one(torch.cat(candidates, dim=-1).unsqueeze(1))
        chosen = chosen.squeeze(1)

        tokens = eos[end]
        is_none = (chosen > num_boxes).unsqueeze(-1)
        ends = torch.where(chosen > num_boxes, 0, chosen * _BOX).unsqueeze(-1)
        covered = boxes.shape[1]
        in_boxes = torch.arange(covered, device=device) < ends
        tokens[:, :covered] = torch.where(in_boxes, locations[boxes], tokens[:, :covered])
        if len(candidates) == 2:
            tokens[:, : len(words)] = torch.where(is_none, words, tokens[:, : len(words)])
        ends_here = torch.zeros((len(tokens), length + 1), dtype=torch.bool, device=device)
        ends_here[:, starts] = in_front.isfinite()
        ends_here[:, : _BOX * self._min_boxes] = False
        if len(candidates) == 2:
            ends_here[:, len(words)] |= word.isfinite()
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
        self._num_states = len(transitions) + 1
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
        self._members = torch.tensor([token for group in groups for token in group])
        self._kind_of = torch.tensor([kind for kind, group in enumerate(groups) for _ in group])
        final = sorted(set(accepting))
        edges = [(state, 0, end) for state in [*final, end]]
        edges += [(state, 1 + index, target) for index, pairs in enumerate(classes) for state, target in pairs]
        self._edges = torch.tensor(edges).T.contiguous()
        self._final = torch.tensor([*final, end])

    def propose(
        self, known: CanvasLogits, *, temperature: float = 0.0, random: RowGenerators | None = None
    ) -> PatternProposal:
        """See [`AnswerPattern.propose`]."""
        choose = _Best() if temperature == 0 else _Draw(required(random), len(known.canvas))
        device, (rows, length) = known.canvas.device, known.canvas.shape
        members, kind_of, final = (part.to(device) for part in (self._members, self._kind_of, self._final))
        source, edge_kind, target = self._edges.to(device)
        tokens = known.columns(members, temperature)  # (B, L, m)
        kinds = choose.total(tokens, kind_of, self._num_kinds)  # (B, L, C)

        state_scores = kinds.new_full((rows, self._num_states), -torch.inf)
        state_scores[:, 0] = 0
        history, may_end = [], []
        for place in range(length):
            history.append(state_scores)
            may_end.append(state_scores[:, final[:-1]].isfinite().any(-1))
            moves = state_scores[:, source] + kinds[:, place, edge_kind]  # (B, D)
            state_scores = choose.total(moves, target, self._num_states)
        ends = torch.full_like(state_scores, -torch.inf)
        ends[:, final] = state_scores[:, final]
        _, state = choose.one(ends.unsqueeze(1))

        chosen_kinds = []
        for place in reversed(range(length)):
            moves = history[place][:, source] + kinds[:, place, edge_kind]
            _, edge = choose.one(moves.masked_fill(target != state, -torch.inf).unsqueeze(1))
            chosen_kinds.append(edge_kind[edge])
            state = source[edge]
        chosen = torch.cat(chosen_kinds[::-1], dim=1)
        within = tokens.masked_fill(kind_of != chosen.unsqueeze(-1), -torch.inf)
        _, place_of = choose.one(within)
        return PatternProposal(members[place_of], torch.stack(may_end, dim=1))


class _Best:
    """Takes what has the highest score, the first of several."""

    def one(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One of the last dimension of `(B, M, m)`: what all come to, and the place of the one, both `(B, M)`."""
        best = scores.max(-1)
        return best.values, best.indices

    def total(self, scores: torch.Tensor, kind_of: torch.Tensor, num_kinds: int) -> torch.Tensor:
        """What the members of each class come to, `(..., C)` from `(..., m)`; -inf for one without any."""
        out = scores.new_full((*scores.shape[:-1], num_kinds), -torch.inf)
        return out.scatter_reduce_(-1, kind_of.expand_as(scores), scores, "amax")

    def ordered_pair(self, low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The best a < b by `low[a] + high[b]`, from two `(B, M, axes, n)`: score, a and b, each `(B, M, axes)`."""
        running = low[..., :-1].cummax(-1)
        best = (running.values + high[..., 1:]).max(-1)
        first = running.indices.gather(-1, best.indices.unsqueeze(-1)).squeeze(-1)
        return best.values, first, best.indices + 1


class _Draw:
    """Draws with the probabilities that scores are the logarithms of, by the Gumbel-max trick."""

    def __init__(self, random: RowGenerators, rows: int) -> None:
        self._random = random
        self._rows = rows

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

    def ordered_pair(self, low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See [`_Best.ordered_pair`]."""
        scores = low[..., :-1].logcumsumexp(-1) + high[..., 1:]
        second = self._gumbel(scores).argmax(-1)
        below = torch.arange(low.shape[-1] - 1, device=low.device) <= second.unsqueeze(-1)
        first = self._gumbel(low[..., :-1].masked_fill(~below, -torch.inf)).argmax(-1)
        return scores.logsumexp(-1), first, second + 1

    def _gumbel(self, scores: torch.Tensor) -> torch.Tensor:
        uniform = torch.cat(list(self._random.uniform_rows([1] * self._rows, *scores.shape[1:])))
        return scores - uniform.log_().neg_().log_()


def _suffix_sums(scores: torch.Tensor) -> torch.Tensor:
    """`(B, L + 1)` from `(B, L)`: the sum from each place to the end; 0 behind it."""
    return torch.nn.functional.pad(scores.flip(-1).cumsum(-1).flip(-1), (0, 1))


def _useful_moves(transitions: Sequence[Mapping[int, int]], accepting: set[int]) -> list[dict[int, int]]:
    """The transitions to states from which an answer can still end."""
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


__all__ = ["AnswerPattern", "AutomatonPattern", "BoxListPattern", "CanvasLogits", "PatternProposal"]

# SPDX-License-Identifier: Apache-2.0
"""Decoding policies of rows as tensors: each row of a batch has its own, and a step decides for all of them at once.

A row is a *slot* that one request after the other uses. The host writes the numbers of a policy when a request begins,
and remembers which slots need what: strategies, samplers and bounds that no request in the slots asks for are not
computed. Nothing is read back from the device.

Shapes: R slots, B rows of a batch, L canvas length, V vocabulary, S suppressed tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from geodit.modeling_geodit.decoding_geodit import (
    REMASKING_CLASSES,
    DecodingPolicy,
    EntropyBoundSelection,
    GreedySampler,
    GumbelSampler,
    Proposal,
    RemaskingStrategy,
    ThresholdSelection,
    TopKSelection,
    TransferSelection,
    commit_order,
    first_of_order,
    num_above,
    num_within_bound,
    positions_at_once,
    sample_tokens,
)
from geodit.modeling_geodit.host_copies_geodit import index_on, to_device
from geodit.modeling_geodit.random_geodit import TOKENS, RowStreams, widest_float
from geodit.modeling_geodit.softmax_geodit import first_argmax
from geodit.modeling_geodit.step_rules_geodit import StepRules

__all__ = ["RowPolicies", "RowRemasking", "RowSelection", "SlotPlaces"]

_STRATEGIES = tuple(REMASKING_CLASSES.values())
_NO_TOKEN = torch.iinfo(torch.int64).max


class SlotPlaces:
    """Where slots are in a batch. A slot that is not in it is read as any row, and written to nowhere.

    Args:
        rows: `(B,)` int64, the slot of each row. Slots that are finished may be there several times.
        num_slots: R.
    """

    def __init__(self, rows: torch.Tensor, num_slots: int) -> None:
        self.count = len(rows)
        place_of = torch.full((num_slots,), self.count, dtype=torch.long, device=rows.device)
        self._place_of = place_of.scatter_(0, rows, torch.arange(self.count, device=rows.device))

    def read(self, values: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
        """`(slots, ...)`, what slots have of `(B, ...)`."""
        return values.index_select(0, self._rows_of(slots))

    def positions(self, slots: torch.Tensor, canvas_length: int, length: int) -> torch.Tensor:
        """`(slots * length)` int64, where the first positions of slots are among all `B * L`."""
        starts = self._rows_of(slots).unsqueeze(-1) * canvas_length
        return (starts + torch.arange(length, device=slots.device)).flatten()

    def padded(self, values: torch.Tensor) -> torch.Tensor:
        """`(B + 1, ...)`, a copy of `(B, ...)` with a last row for what slots outside the batch write."""
        return torch.cat([values, values[:1]])

    def write_(self, padded: torch.Tensor, slots: torch.Tensor, new: torch.Tensor) -> None:
        """Write the first numbers of slots, in place.

        Args:
            padded: `(B + 1, n)`, what [`padded`] gave.
            slots: `(slots,)` int64.
            new: `(slots, up to n)`.
        """
        padded[:, : new.shape[1]].index_copy_(0, self._place_of.index_select(0, slots), new)

    def _rows_of(self, slots: torch.Tensor) -> torch.Tensor:
        return self._place_of.index_select(0, slots).clamp(max=self.count - 1)


@dataclass(frozen=True)
class _PolicyNumbers:
    """A policy in numbers; infinite ones ask for nothing."""

    samples: bool
    temperature: float
    remasking: int
    threshold: float
    bound: float
    suppressed: tuple[int, ...]

    @classmethod
    def of(cls, rules: StepRules) -> _PolicyNumbers:
        policy = rules.policy
        sampler, selection = policy.sampler, policy.selection
        known = (
            type(sampler) in (GreedySampler, GumbelSampler)
            and type(policy.remasking) in _STRATEGIES
            and type(selection) in (TopKSelection, ThresholdSelection, EntropyBoundSelection)
        )
        if not known:
            raise ValueError(f"Rows cannot have a policy of parts that are not this package's own: {policy}.")
        temperature = sampler.temperature if isinstance(sampler, GumbelSampler) else 0.0
        return cls(
            samples=rules.pattern is None,
            temperature=temperature if rules.pattern is None else rules.temperature,
            remasking=_STRATEGIES.index(type(policy.remasking)),
            threshold=selection.threshold if isinstance(selection, ThresholdSelection) else torch.inf,
            bound=selection.bound if isinstance(selection, EntropyBoundSelection) else -torch.inf,
            suppressed=tuple(sorted(policy.suppress_tokens)),
        )


class RowPolicies:
    """The policies of all slots.

    Args:
        num_slots: R.
        max_suppressed: S, the most tokens that a policy may suppress.
        device: Where steps run.
    """

    def __init__(self, num_slots: int, max_suppressed: int, device: torch.device) -> None:
        self._device = device
        self._max_suppressed = max_suppressed
        self._begun: dict[int, _PolicyNumbers] = {}
        dtype = widest_float(device)
        self._temperatures = torch.zeros(num_slots, dtype=dtype, device=device)
        self._thresholds = torch.full((num_slots,), torch.inf, dtype=dtype, device=device)
        self._bounds = torch.full((num_slots,), -torch.inf, dtype=dtype, device=device)
        self._remasking = torch.zeros(num_slots, dtype=torch.long, device=device)
        self._suppressed = torch.full((num_slots, max_suppressed), _NO_TOKEN, device=device)
        self._look_up_needs()

    def check(self, rules: StepRules) -> None:
        """Refuse a policy that a slot cannot have.

        Raises:
            ValueError: If its parts are not those of this package, or it suppresses too many tokens.
        """
        count = len(_PolicyNumbers.of(rules).suppressed)
        if count > self._max_suppressed:
            raise ValueError(
                f"A request suppresses {count} tokens, the mask token and the image placeholder among them, but at "
                f"most {self._max_suppressed} are possible: shorten suppress_tokens or raise max_suppressed."
            )

    def begin(self, slots: Sequence[int], rules: Sequence[StepRules]) -> None:
        """Write the policies of requests that begin in slots; `rules` that were checked."""
        numbers = [_PolicyNumbers.of(some) for some in rules]
        index = index_on(self._device, slots)
        for table, values in (
            (self._temperatures, [some.temperature for some in numbers]),
            (self._thresholds, [some.threshold for some in numbers]),
            (self._bounds, [some.bound for some in numbers]),
            (self._remasking, [some.remasking for some in numbers]),
            (self._suppressed, [self._padded(some.suppressed) for some in numbers]),
        ):
            table[index] = to_device(torch.tensor(values, dtype=table.dtype), self._device)
        self._begun.update(zip(slots, numbers, strict=True))
        self._look_up_needs()

    def release(self, slots: Sequence[int]) -> None:
        """Forget what slots need."""
        for slot in slots:
            self._begun.pop(slot, None)
        self._look_up_needs()

    def _padded(self, token_ids: tuple[int, ...]) -> list[int]:
        return [*token_ids, *[_NO_TOKEN] * (self._max_suppressed - len(token_ids))]

    def _look_up_needs(self) -> None:
        begun = self._begun.values()
        self._strategies = sorted({numbers.remasking for numbers in begun})
        self._has_thresholds = any(numbers.threshold < torch.inf for numbers in begun)
        self._has_bounds = any(numbers.bound >= 0 for numbers in begun)
        self._num_suppressed = max((len(numbers.suppressed) for numbers in begun), default=0)
        self._is_greedy = any(numbers.samples and numbers.temperature == 0 for numbers in begun)
        drawing = [slot for slot, numbers in self._begun.items() if numbers.samples and numbers.temperature > 0]
        self._drawing = index_on(self._device, drawing) if drawing else None

    def temperatures(self, slots: torch.Tensor) -> torch.Tensor:
        """`(slots,)`, the temperatures."""
        return self._temperatures.index_select(0, slots)

    def suppressed(self, slots: torch.Tensor) -> torch.Tensor:
        """`(slots, up to S)` int64, the suppressed tokens; after them numbers that stand for no token."""
        return self._suppressed[:, : self._num_suppressed].index_select(0, slots)

    def policy(self, rows: torch.Tensor) -> DecodingPolicy:
        """Return what ranks and selects the proposals of rows `(B,)`; its sampler is not theirs, see [`propose`]."""
        strategies = {number: _STRATEGIES[number]() for number in self._strategies or [0]}
        return DecodingPolicy(
            remasking=RowRemasking(strategies, self._remasking[rows]),
            selection=RowSelection(
                self._thresholds[rows].unsqueeze(-1) if self._has_thresholds else None,
                self._bounds[rows].unsqueeze(-1) if self._has_bounds else None,
            ),
        )

    def propose(
        self, logits: torch.Tensor, rows: torch.Tensor, places: SlotPlaces, random: RowStreams
    ) -> torch.Tensor:
        """Propose a token for every position, but in rows with a pattern.

        Args:
            logits: `(B * L, V)` float32. They are changed on the way and as they were after.
            rows: `(B,)` int64, the slots.
            places: Where those are.
            random: Random numbers of the step.

        Returns:
            `(B, L)` int64, without meaning in rows with a pattern.
        """
        grid = logits.unflatten(0, (len(rows), -1))
        num_positions, vocab_size = grid.shape[1:]
        if self._num_suppressed:
            asked = self.suppressed(rows).unsqueeze(1).expand(-1, num_positions, -1)
            ids = asked.clamp(max=vocab_size - 1)
            hidden = grid.gather(-1, ids)
            # The lesser of both, so that it does not matter which of equal ids is written last.
            lowered = torch.where(asked < vocab_size, -torch.inf, torch.inf).to(grid.dtype)
            grid.scatter_reduce_(-1, ids, lowered, "amin")
        tokens = first_argmax(logits) if self._is_greedy else logits.new_zeros(len(logits), dtype=torch.long)
        tokens = tokens.view(grid.shape[:2])
        if self._drawing is not None:
            padded = places.padded(tokens)
            drawn = self._draw(logits, num_positions, self._drawing, places, random)
            places.write_(padded, self._drawing, drawn)
            tokens = padded[: places.count]
        if self._num_suppressed:
            grid.scatter_(-1, ids, hidden)
        return tokens

    def _draw(
        self, logits: torch.Tensor, num_positions: int, slots: torch.Tensor, places: SlotPlaces, random: RowStreams
    ) -> torch.Tensor:
        """`(slots, L)` int64, tokens of rows that draw them."""
        keys = places.read(random.at(TOKENS).along(num_positions).keys, slots)  # (slots, L)
        temperatures = self.temperatures(slots).unsqueeze(-1).expand_as(keys).reshape(-1, 1)
        at_once = positions_at_once(logits)
        parts = zip(
            places.positions(slots, num_positions, num_positions).split(at_once),
            keys.flatten().split(at_once),
            temperatures.split(at_once),
            strict=True,
        )
        drawn = [
            sample_tokens(logits.index_select(0, positions), RowStreams(some), temperature)
            for positions, some, temperature in parts
        ]
        return torch.cat(drawn).view_as(keys)


class RowRemasking(RemaskingStrategy):
    """The strategy of each row.

    Args:
        strategies: Those that any row may have, by their numbers.
        numbers: `(B,)` int64, the number of each row's.
    """

    draws = True

    def __init__(self, strategies: dict[int, RemaskingStrategy], numbers: torch.Tensor) -> None:
        self._strategies = strategies
        self._numbers = numbers

    def score(self, proposal: Proposal, random: RowStreams | None) -> torch.Tensor:
        """See [`RemaskingStrategy.score`]."""
        numbers = proposal.positions.rows_of(self._numbers.unsqueeze(-1).expand_as(proposal.masked))
        scores = torch.zeros_like(proposal.softmax.rest)
        for number, strategy in self._strategies.items():
            scores = torch.where(numbers == number, strategy.score(proposal, random), scores)
        return scores


class RowSelection(TransferSelection):
    """The selection of each row: as many as it must, or more by its own threshold or bound.

    Args:
        thresholds: `(B, 1)`, see [`ThresholdSelection`]; infinite where a row has none, `None` if no row has one.
        bounds: `(B, 1)`, see [`EntropyBoundSelection`]; minus infinity where a row has none, `None` if no row has one.
    """

    def __init__(self, thresholds: torch.Tensor | None, bounds: torch.Tensor | None) -> None:
        self._thresholds = thresholds
        self._bounds = bounds

    def select(
        self, scores: torch.Tensor, masked: torch.Tensor, num_transfer: torch.Tensor, proposal: Proposal
    ) -> torch.Tensor:
        """See [`TransferSelection.select`]."""
        order = commit_order(scores, masked)
        count = num_transfer
        if self._thresholds is not None:
            count = torch.maximum(count, num_above(scores, masked, self._thresholds))
        if self._bounds is not None:
            count = torch.maximum(count, num_within_bound(proposal, order, self._bounds))
        return first_of_order(count, order, masked)

# SPDX-License-Identifier: Apache-2.0
"""Random numbers without a state that advances: each is a function of where it is used.

A stream is a key, a 64-bit integer. Its numbers, and the keys of the streams that it is split into, are SplitMix64
(Steele et al., 2014) started there: the n-th is a hash of the key and n. A batch has a stream for each row, which is
split by the denoising step, by what the numbers are for, and by the place in the canvas. So a number depends on
nothing else: not on the other rows, on how many positions are masked or on which numbers were drawn before. All of it
is arithmetic of int64 tensors, which nothing is read back from.

Shapes: B batch, L canvas length, K positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from geodit.modeling_geodit.host_copies_geodit import index_on

__all__ = ["CANVAS", "ORDER", "TOKENS", "RowStreams", "required", "seeded_generator", "widest_float"]

TOKENS, ORDER, CANVAS = range(3)
"""What numbers of a step are for: tokens of single positions, the order of positions, and whole canvases."""


class RowStreams:
    """Streams of random numbers, one a row unless they are split further.

    A stream is either split (`at`, `along`) or drawn from (`uniform`): what is drawn are the keys of its parts.

    Args:
        keys: `(...)` int64, a key for each stream.
    """

    def __init__(self, keys: torch.Tensor) -> None:
        self.keys = keys

    @classmethod
    def spawn(
        cls,
        num_rows: int,
        device: torch.device,
        *,
        seed: int | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> RowStreams:
        """Derive the streams of a batch from a single source of randomness.

        Args:
            num_rows: B.
            device: Where the numbers are needed.
            seed: Seed of the source.
            generator: The source itself, or one source a row, which then fixes a row's numbers wherever in a
                batch it stands. With neither this nor `seed` the source is PyTorch's global generator.

        Raises:
            ValueError: when both are given, or the number of generators is not B.
        """
        if generator is not None and seed is not None:
            raise ValueError("Give a seed or a generator, not both.")
        sources: Sequence[torch.Generator | None]
        if seed is not None:
            sources = [torch.Generator().manual_seed(seed)] * num_rows
        elif generator is None or isinstance(generator, torch.Generator):
            sources = [generator] * num_rows
        else:
            sources = list(generator)
        if len(sources) != num_rows:
            raise ValueError(f"{len(sources)} generators were given for a batch of {num_rows} rows.")
        return cls(index_on(torch.device(device), [_draw_key(source) for source in sources]))

    def take(self, rows: slice | Sequence[int]) -> RowStreams:
        """Return the streams of some rows, for a batch that goes on with only these. They stay the same streams."""
        return RowStreams(self.keys[rows if isinstance(rows, slice) else list(rows)])

    def at(self, number: int | torch.Tensor) -> RowStreams:
        """Return the part of each stream with a number.

        Args:
            number: 0 or above; a tensor, int64 without dimensions, gives what the same `int` gives.
        """
        offset = _signed((number + 1) * _GAMMA) if isinstance(number, int) else (number + 1) * _GAMMA
        return RowStreams(_mix_(self.keys + offset))

    def along(self, length: int) -> RowStreams:
        """Return the first parts of each stream, `(..., length)` of them: `at(0)`, `at(1)` and so on."""
        return RowStreams(self._hashes(length))

    def uniform(self, *shape: int) -> torch.Tensor:
        """Draw from U[0, 1).

        Args:
            *shape: Shape of the numbers of one stream.

        Returns:
            `(..., *shape)`, multiples of 2^-53 in double precision (of 2^-24 in single where the device has none).
        """
        dtype = widest_float(self.keys.device)
        bits = 53 if dtype == torch.float64 else 24
        numbers = _shift_right(self._hashes(math.prod(shape)), 64 - bits).to(dtype).mul_(2.0**-bits)
        return numbers.view(*self.keys.shape, *shape)

    def _hashes(self, count: int) -> torch.Tensor:
        # (n + 1) * gamma as ~n * -gamma: a multiple of n itself TorchInductor takes for an address, which must not
        # overflow in what it compiles for a processor.
        offsets = torch.arange(count, device=self.keys.device).bitwise_not_().mul_(-_GAMMA)
        return _mix_(self.keys.unsqueeze(-1) + offsets)


def seeded_generator(*key: int, bits: Literal[32, 63] = 63) -> torch.Generator:
    """Make a CPU generator whose stream is a function of some integers, such as a seed and the number of a question.

    Args:
        *key: The integers, each at least 0.
        bits: Length of the seed that they are hashed to. Published figures were drawn with 63 bits in training and
            with 32 in evaluation, so both stay.

    Raises:
        ValueError: If an integer is below 0.
    """
    word = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(word >> 1 if bits == 63 else word % 2**bits)


def required(random: RowStreams | None) -> RowStreams:
    """Refuse to go on without random numbers.

    Raises:
        ValueError: when there are none.
    """
    if random is None:
        raise ValueError("This decoding policy draws random numbers: give it RowStreams.")
    return random


def widest_float(device: torch.device) -> torch.dtype:
    """Double precision, or single on MPS, which has no double; LLaDA's code makes the same exception."""
    return torch.float32 if device.type == "mps" else torch.float64


def _draw_key(source: torch.Generator | None) -> int:
    device = torch.device("cpu") if source is None else source.device
    return int(torch.randint(2**63 - 1, (), generator=source, device=device))


def _signed(number: int) -> int:
    """Return the int64 with the last 64 bits of a number, as int64 tensors overflow."""
    return (number + 2**63) % 2**64 - 2**63


_GAMMA = _signed(0x9E3779B97F4A7C15)
_FACTORS = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)))


def _shift_right(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift int64 as if it were unsigned: PyTorch's shift brings copies of the sign from the left."""
    return (values >> bits).bitwise_and_(2 ** (64 - bits) - 1)


def _mix_(values: torch.Tensor) -> torch.Tensor:
    """SplitMix64's bijection of 64 bits, in place: each bit of the result depends on all."""
    for bits, factor in _FACTORS:
        values.bitwise_xor_(_shift_right(values, bits)).mul_(factor)
    return values.bitwise_xor_(_shift_right(values, 31))

# SPDX-License-Identifier: Apache-2.0
"""Random numbers of a batch whose rows do not influence one another.

Shapes: B batch, L length of the block, K masked positions of all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


class RowGenerators:
    """Random numbers for a batch, each row from a stream of its own.

    Row r draws from the r-th stream that the source spawns, and only for its own masked positions. Its numbers depend
    on nothing else: neither on the other rows, nor on how many there are, nor on which of them are done.

    Args:
        generators: One generator a row, all on the device where the numbers are needed.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = tuple(generators)

    @classmethod
    def spawn(
        cls,
        num_rows: int,
        device: torch.device,
        *,
        seed: int | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> RowGenerators:
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
        return cls([torch.Generator(device).manual_seed(_draw_seed(source)) for source in sources])

    def take(self, rows: Sequence[int]) -> RowGenerators:
        """The streams of some rows, for a batch that goes on with these alone. They stay the same streams."""
        return RowGenerators([self._generators[row] for row in rows])

    def uniform_rows(self, counts: Sequence[int], *shape: int) -> Iterator[torch.Tensor]:
        """Draw from U[0, 1), row by row: with a vocabulary in `shape`, the numbers of a batch may be too many at once.

        Args:
            counts: B integers, how many masked positions each row has; one without any draws nothing.
            *shape: Shape of the numbers of one position.

        Yields:
            For each row in turn `(count, *shape)`, in double precision (single where the device has none).
        """
        for generator, count in zip(self._generators, counts, strict=True):
            device = generator.device
            yield torch.rand((count, *shape), generator=generator, device=device, dtype=widest_float(device))

    def uniform_like(self, masked: torch.Tensor, *shape: int) -> torch.Tensor:
        """Draw from U[0, 1) for every masked position.

        Args:
            masked: `(B, L)` bool.
            *shape: Shape of the numbers of one position.

        Returns:
            `(K, *shape)` in row-major order of `masked`, of the precision of `uniform_rows`.
        """
        return torch.cat(list(self.uniform_rows(masked.sum(-1).tolist(), *shape)))


def required(random: RowGenerators | None) -> RowGenerators:
    """Refuse to go on without random numbers.

    Raises:
        ValueError: when there are none.
    """
    if random is None:
        raise ValueError("This decoding policy draws random numbers: give it RowGenerators.")
    return random


def widest_float(device: torch.device) -> torch.dtype:
    """Double precision, or single on MPS, which has no double; LLaDA's code makes the same exception."""
    return torch.float32 if device.type == "mps" else torch.float64


def _draw_seed(source: torch.Generator | None) -> int:
    device = torch.device("cpu") if source is None else source.device
    return int(torch.randint(2**63 - 1, (), generator=source, device=device))


__all__ = ["RowGenerators", "required", "widest_float"]

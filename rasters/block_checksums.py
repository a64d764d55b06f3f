# SPDX-License-Identifier: Apache-2.0
"""Find damage in the blocks of a TIFF that GDAL reads without an error. Needs the extra `geodit[geo]`.

Blocks that are compressed by DEFLATE end with a checksum. GDAL stops reading a block when it has all its pixels, which
is before the checksum: damage in the middle of a block becomes pixels of any color.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from rasterio.enums import Compression, Interleaving
from rasterio.io import DatasetReader

from geodit.data.windows import Window
from geodit.rasters.sampling import blocks_of

__all__ = ["BlockChecksums"]

# Pixels are dropped as they are decompressed: only so many bytes of them are ever in memory.
_PIECE_BYTES = 2**20


class BlockChecksums:
    """The checksums of the blocks of one file, each of which is compared once.

    Args:
        dataset: The raster, which may be opened again.
        path: Its file.
    """

    def __init__(self, dataset: DatasetReader, path: Path) -> None:
        self.dataset, self._path = dataset, path
        self._right: set[tuple[int, int, int]] = set()

    @staticmethod
    def are_in(dataset: DatasetReader) -> bool:
        """Return whether a raster has such checksums."""
        return bool(dataset.driver == "GTiff" and dataset.compression == Compression.deflate)

    def check(self, window: Window, bands: list[int]) -> None:
        """Compare the checksums of the blocks of a window.

        Raises:
            ValueError: If one does not fit its block; it says which.
        """
        for block in self._blocks(window, bands):
            if block not in self._right:
                self._check_block(*block)
                self._right.add(block)

    def _blocks(self, window: Window, bands: list[int]) -> Iterator[tuple[int, int, int]]:
        """Yield band, column and row of each block; where a block holds all bands, band 1 stands for them."""
        stored_bands = [1] if self.dataset.interleaving == Interleaving.pixel else bands
        for row, column in blocks_of(window, self.dataset.block_shapes[0]):
            for band in stored_bands:
                yield band, column, row

    def _check_block(self, band: int, column: int, row: int) -> None:
        place = f"{column}_{row}"
        offset = self.dataset.get_tag_item(f"BLOCK_OFFSET_{place}", "TIFF", bidx=band)
        size = self.dataset.get_tag_item(f"BLOCK_SIZE_{place}", "TIFF", bidx=band)
        if offset is None or size is None:
            return  # a block that is not in the file, which has no data or zeros
        with self._path.open("rb") as file:
            file.seek(int(offset))
            compressed = file.read(int(size))
        stream = zlib.decompressobj()
        try:
            while compressed and not stream.eof:
                stream.decompress(compressed, _PIECE_BYTES)
                compressed = stream.unconsumed_tail
        except zlib.error as error:
            raise ValueError(f"band {band}: block at X offset {column}, Y offset {row}: {error}") from error

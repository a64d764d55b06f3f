# SPDX-License-Identifier: Apache-2.0
"""AVVG (aerial vehicle visual grounding): expressions about vehicles in images of a drone, a part of refGeo.

Layout: that of refGeo (`geodit.data.readers.refgeo`), `metainfo/avvg_train.jsonl`, `metainfo/avvg_test.jsonl` and
`images/avvg/`, or the two files next to `images/`. Images have 4000 x 2250 pixels. Boxes are in pixels of these images
and may extend beyond them. `bbox` is upright, and is what the box of an answer is compared with; `poly` has the
corners of the turned box, as four points [x, y] or eight numbers, and becomes `corners`.

refGeo also has `metainfo/avvg_detection_{train,test}.jsonl`, with all vehicles of a make, color or size per record.
They are not read.

Source: Zhou et al., "GeoGround: A Unified Large Vision-Language Model for Remote Sensing Visual Grounding", arXiv
2411.11904, with the data at https://huggingface.co/datasets/erenzhou/refGeo. Names of files, fields and coordinates
are as several projects that train or evaluate on these files read them. The number of expressions is the number of
samples in a list of data sets by one of the authors (github.com/VisionXLab/Awesome-RS-VL-Data), and the license is
what others report of refGeo's page. The download was not seen. Not verified: the number of expressions per split,
whether the splits share images, the order of the corners, and whether `bbox` is always the box around them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from geodit.data.readers.fields import numbers
from geodit.data.readers.reader import TOTAL, Count
from geodit.data.readers.refgeo import ExpressionReader
from geodit.processing.turned_boxes_geodit import Corners, oriented_box_of


class AVVGReader(ExpressionReader):
    """AVVG."""

    name = "avvg"
    description = "drone images with 26,465 referring expressions and boxes of vehicles"
    splits = ("train", "test")
    download = "https://huggingface.co/datasets/erenzhou/refGeo"
    layout = "images/avvg/, metainfo/avvg_train.jsonl and metainfo/avvg_test.jsonl"
    licence = "S-Lab License 1.0, not for commercial use (refGeo)"
    # Not exact: what the authors count as a sample is not said.
    published = {TOTAL: {"ground": Count(26465, exact=False)}}
    image_folder = "avvg"

    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return the file of the split."""
        name = f"avvg_{split}.jsonl"
        return [self.require_file(root / "metainfo" / name, root / name)]

    def corners(self, fields: Mapping[str, object]) -> Corners | None:
        """Return the four corners of `poly`; `None` if there is none, or it is upright or has no area.

        Raises:
            ValueError: If `poly` is not four points.
        """
        if fields.get("poly") is None:
            return None
        a, b, c, d, e, f, g, h = numbers(list(_coordinates(fields["poly"])), 8)
        corners = ((a, b), (c, d), (e, f), (g, h))
        with contextlib.suppress(ValueError):  # raised where they enclose no area; the upright box counts then
            if not oriented_box_of(corners).is_upright:
                return corners
        return None


def _coordinates(poly: object) -> Iterator[object]:
    """Yield the coordinates of points one after the other, whether each point is a list of its own or not."""
    for value in poly if isinstance(poly, list) else [poly]:
        yield from value if isinstance(value, list) else [value]

# SPDX-License-Identifier: Apache-2.0
"""AVVG (aerial vehicle visual grounding): expressions about vehicles in images of a drone, a part of refGeo.

Layout: that of refGeo (`geodit.data.readers.refgeo`), `metainfo/avvg_train.jsonl`, `metainfo/avvg_test.jsonl` and
`images/avvg/`, or the two files next to `images/`. Images have 4000 x 2250 pixels. Boxes are in pixels of these images
and may extend beyond them. `bbox` is upright, and is what the box of an answer is compared with; `poly` has the
corners of the turned box, as four points [x, y] or eight numbers, and becomes `corners`.

`avvg_detection_train.jsonl` and `avvg_detection_test.jsonl` in the same folder are read if they are there. A record
has an image, a category in `question` and the vehicles of it in `poly`, as one or more quads of the same form, one
after the other or each in a list of its own. It becomes a `detect` question, with the upright boxes around the quads
in `boxes`. Records of one category and image are one question, in which a quad counts once. Categories are makes,
colors, sizes and kinds, such as "black car"; a vehicle can be of several. They are in lower case here, without the
period that may end them.

Source: Zhou et al., "GeoGround: A Unified Large Vision-Language Model for Remote Sensing Visual Grounding", arXiv
2411.11904, with the data at https://huggingface.co/datasets/erenzhou/refGeo. Names of files, fields and coordinates
are as several projects that train or evaluate on these files read them; those of detection as one such project does,
for a detector of 80 categories (github.com/wokaikaixinxin/ai4rs, `avvg.py` in `projects/rotated_ov_rtdetr`), which
uses `image_id`, `question` and `poly` alone. The number of expressions is the number of samples in a list of data
sets by one of the authors (github.com/VisionXLab/Awesome-RS-VL-Data), and the license is what others report of
refGeo's page. The download was not seen. Not verified: the number of expressions per split, whether the splits share
images, the order of the corners, and whether `bbox` is always the box around them; of detection also the number of
records, whether their images are those of the same split of expressions, whether `poly` has all vehicles of a
category, and how quads are nested.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from geodit.data.readers.fields import brief, clean_text, numbers
from geodit.data.readers.reader import TOTAL, Count
from geodit.data.readers.refgeo import ExpressionReader
from geodit.data.schema import Box, Question
from geodit.processing.turned_boxes_geodit import Corners, oriented_box_of

_DETECTION = "avvg_detection_"


class AVVGReader(ExpressionReader):
    """AVVG."""

    name = "avvg"
    description = "drone images with 26,465 referring expressions and boxes of vehicles"
    splits = ("train", "test")
    download = "https://huggingface.co/datasets/erenzhou/refGeo"
    layout = (
        "images/avvg/, metainfo/avvg_train.jsonl and metainfo/avvg_test.jsonl; for questions of detection also "
        "metainfo/avvg_detection_train.jsonl and metainfo/avvg_detection_test.jsonl"
    )
    licence = "S-Lab License 1.0, not for commercial use (refGeo)"
    # Not exact: what the authors count as a sample is not said.
    published = {TOTAL: {"ground": Count(26465, exact=False)}}
    image_folder = "avvg"

    def annotation_files(self, root: Path, split: str) -> list[Path]:
        """Return the file of the split, and the one of detection if it is there."""
        name = f"avvg_{split}.jsonl"
        expressions = self.require_file(root / "metainfo" / name, root / name)
        detection = expressions.with_name(f"{_DETECTION}{split}.jsonl")
        return [expressions, self.require_file(detection)] if detection.exists() else [expressions]

    def corners(self, fields: Mapping[str, object]) -> Corners | None:
        """Return the four corners of `poly`; `None` if there is none, or it is upright or has no area.

        Raises:
            ValueError: If `poly` is not four points.
        """
        if fields.get("poly") is None:
            return None
        return _turned(numbers(list(_coordinates(fields["poly"])), 8))

    def question(self, path: Path, fields: Mapping[str, object]) -> Question:
        """Return what a record asks: of a file of detection, where all vehicles of a category are.

        Raises:
            ValueError: If a field is missing, or not what it should be.
        """
        if not path.name.startswith(_DETECTION):
            return super().question(path, fields)
        category = clean_text(fields.get("question"), "the category").lower().rstrip(".")
        category = clean_text(category, "the category")
        coordinates = list(_coordinates(fields.get("poly")))
        if not coordinates or len(coordinates) % 8:
            raise ValueError(f"'poly' should have one or more quads of 8 numbers, not {brief(fields.get('poly'))}")
        values = numbers(coordinates, len(coordinates))
        quads = [values[start : start + 8] for start in range(0, len(values), 8)]
        return _detection(category, [(_around(quad), _turned(quad)) for quad in quads])

    def joined(self, questions: Sequence[Question]) -> Sequence[Question]:
        """Return the expressions, then one question for each category, with each of its vehicles once."""
        vehicles: dict[str, dict[tuple[Box, Corners | None], None]] = {}
        for question in questions:
            if question.task == "detect":
                corners = question.corners or (None,) * len(question.boxes)
                vehicles.setdefault(question.query, {}).update(
                    dict.fromkeys(zip(question.boxes, corners, strict=True))
                )
        expressions = [question for question in questions if question.task != "detect"]
        return [*expressions, *(_detection(category, list(found)) for category, found in vehicles.items())]


def _detection(category: str, vehicles: Sequence[tuple[Box, Corners | None]]) -> Question:
    boxes = tuple(box for box, _ in vehicles)
    corners = tuple(turned for _, turned in vehicles)
    return Question("detect", category, boxes=boxes, labels=(category,) * len(boxes), corners=corners)


def _around(quad: Sequence[float]) -> Box:
    """Return the upright box around a quad."""
    return min(quad[::2]), min(quad[1::2]), max(quad[::2]), max(quad[1::2])


def _turned(quad: Sequence[float]) -> Corners | None:
    """Return the corners of a quad; `None` if it is upright or has no area."""
    a, b, c, d, e, f, g, h = quad
    corners = ((a, b), (c, d), (e, f), (g, h))
    with contextlib.suppress(ValueError):  # raised where they enclose no area; the upright box counts then
        if not oriented_box_of(corners).is_upright:
            return corners
    return None


def _coordinates(poly: object) -> Iterator[object]:
    """Yield the coordinates of points one after the other, whether points and quads are lists of their own or not."""
    if isinstance(poly, list):
        for part in poly:
            yield from _coordinates(part)
    else:
        yield poly

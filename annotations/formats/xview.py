# SPDX-License-Identifier: Apache-2.0
"""xView: GeoJSON with a feature per object, whose properties have its box in pixels.

The geometry of the features is not needed for boxes in pixels, so geopandas has no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from geodit.annotations.formats.annotation_format import AnnotationFormat, Record, bad_record
from geodit.annotations.formats.drafts import Drafts
from geodit.annotations.formats.file_heads import json_head
from geodit.annotations.formats.image_paths import ImageFinder
from geodit.annotations.formats.json_arrays import iter_array
from geodit.annotations.formats.shapes import box_object
from geodit.annotations.records import LabeledObject
from geodit.data.readers.fields import as_record, brief, id_field, numbers, text_field

__all__ = ["XVIEW", "XVIEW_CLASSES"]

_CLASSES = """
11 Fixed-wing Aircraft; 12 Small Aircraft; 13 Cargo Plane; 15 Helicopter; 17 Passenger Vehicle; 18 Small Car; 19 Bus;
20 Pickup Truck; 21 Utility Truck; 23 Truck; 24 Cargo Truck; 25 Truck w/Box; 26 Truck Tractor; 27 Trailer;
28 Truck w/Flatbed; 29 Truck w/Liquid; 32 Crane Truck; 33 Railway Vehicle; 34 Passenger Car; 35 Cargo Car;
36 Flat Car; 37 Tank car; 38 Locomotive; 40 Maritime Vessel; 41 Motorboat; 42 Sailboat; 44 Tugboat; 45 Barge;
47 Fishing Vessel; 49 Ferry; 50 Yacht; 51 Container Ship; 52 Oil Tanker; 53 Engineering Vehicle; 54 Tower crane;
55 Container Crane; 56 Reach Stacker; 57 Straddle Carrier; 59 Mobile Crane; 60 Dump Truck; 61 Haul Truck;
62 Scraper/Tractor; 63 Front loader/Bulldozer; 64 Excavator; 65 Cement Mixer; 66 Ground Grader; 71 Hut/Tent; 72 Shed;
73 Building; 74 Aircraft Hangar; 76 Damaged Building; 77 Facility; 79 Construction Site; 83 Vehicle Lot; 84 Helipad;
86 Storage Tank; 89 Shipping container lot; 91 Shipping Container; 93 Pylon; 94 Tower
"""

XVIEW_CLASSES: Mapping[int, str] = MappingProxyType(
    {int(number): name for number, _, name in (entry.strip().partition(" ") for entry in _CLASSES.split(";"))}
)
"""The 60 classes of xView by their `type_id`. Its file has a few objects of types without a name."""


def _matches(source: Path) -> bool:
    return source.is_file() and "bounds_imcoords" in json_head(source).inner


def read_xview(source: Path, *, images: Path | None = None) -> Iterator[Record]:
    """Read xView's GeoJSON.

    Args:
        source: The file.
        images: The folder of the images; by default they are in that of the file, or in `train_images` or `images`
            in it.

    Raises:
        ValueError: If it is not GeoJSON with features, or is damaged.
    """
    folder = source.parent
    finder, drafts = ImageFinder(folder, folder / "train_images", folder / "images", images=images), Drafts()
    for number, value in enumerate(iter_array(source, "features"), start=1):
        origin = f"{source}, feature {number}"
        try:
            properties = as_record(as_record(value).get("properties"))
            name = text_field(properties, "image_id")
            draft = drafts.get_or_find(name, finder.find, origin)
            if draft is None:
                continue  # that has been said
            label = _label(properties)
            try:
                draft.objects.append(_object(properties, label, number))
            except ValueError:
                draft.partial_labels.add(label)
                raise
        except ValueError as error:
            yield bad_record(origin, error)
    yield from drafts.finish()


def _label(properties: Mapping[str, object]) -> str:
    type_id = id_field(properties, "type_id")
    if type_id not in XVIEW_CLASSES:
        raise ValueError(f"xView has no class {type_id}")
    return XVIEW_CLASSES[type_id]


def _object(properties: Mapping[str, object], label: str, number: int) -> LabeledObject:
    bounds = text_field(properties, "bounds_imcoords")
    if bounds.count(",") != 3:
        raise ValueError(f"its bounds_imcoords are {brief(bounds)}, not four numbers")
    return box_object(label, numbers(bounds.split(","), 4), line=number)


XVIEW = AnnotationFormat("xview", "xView: GeoJSON with bounds_imcoords", _matches, read_xview)

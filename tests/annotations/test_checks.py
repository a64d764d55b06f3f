# SPDX-License-Identifier: Apache-2.0
"""What is wrong or odd with annotations is named with its place, counted, and left out if that is wanted."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import example_rasters
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from geodit.annotations.checks import check_records
from geodit.annotations.image_hashes import MAX_DISTANCE, LookAlikes, difference_hash
from geodit.annotations.import_report import PROBLEM_KINDS, BadRecordsError, ImportReport
from geodit.annotations.records import BadRecord, LabeledImage, LabeledObject

WIDTH, HEIGHT = 60, 40
NOISE = np.random.default_rng(0).integers(0, 256, (4, HEIGHT // 5, WIDTH // 5, 3), dtype=np.uint8)


def picture(number: int) -> Image.Image:
    """Patches of random colors."""
    return Image.fromarray(NOISE[number]).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checks")
    for number in range(len(NOISE)):
        picture(number).save(folder / f"{number}.png")
    return folder


def thing(x1: float, y1: float, x2: float, y2: float, label: str = "ship", **more: Any) -> LabeledObject:
    return LabeledObject(label, (x1, y1, x2, y2), **more)


def check(*records: LabeledImage | BadRecord, **options: Any) -> tuple[list[LabeledImage], ImportReport]:
    report = ImportReport()
    return list(check_records(records, report, **({"skip_bad": True} | options))), report


def labeled(folder: Path, *objects: LabeledObject, name: str = "0.png", **more: Any) -> LabeledImage:
    return LabeledImage(str(folder / name), f"a.json, {name}", objects=objects, **more)


def test_sound_records_pass_unchanged_with_the_size_of_their_images(folder: Path) -> None:
    record = labeled(folder, thing(1, 2, 3, 4), thing(0, 0, WIDTH, HEIGHT, "dock", line=4), captions=("a harbor",))
    (checked,), report = check(record, skip_bad=False)
    assert checked == replace(record, image_size=(HEIGHT, WIDTH))
    assert report.lines() == ["images: 1, objects: 2"]


@pytest.mark.parametrize(
    ("one", "kind", "reason"),
    [
        (thing(math.nan, 2, 3, 4), "not a number", "ship has the box (nan, 2, 3, 4)"),
        (thing(1, 2, math.inf, 4), "not a number", "ship has the box (1, 2, inf, 4)"),
        (
            thing(1, 2, 3, 4, corners=((1, 2), (3, 2), (3, 4), (1, math.nan))),
            "not a number",
            "ship has the box (1, 2, 3, 4)",
        ),
        (thing(3, 2, 3, 4), "without area", "ship has the box (3, 2, 3, 4)"),
        (thing(1, 4, 3, 2), "without area", "ship has the box (1, 4, 3, 2)"),
        (thing(-5, 2, 0, 4), "outside", "ship at (-5, 2, 0, 4) is outside its image of 60 x 40 pixels"),
        (thing(2, 40, 5, 44), "outside", "ship at (2, 40, 5, 44) is outside its image of 60 x 40 pixels"),
    ],
)
def test_objects_that_cannot_be_used_are_left_out_and_their_class_is_known_in_part(
    folder: Path, one: LabeledObject, kind: str, reason: str
) -> None:
    record = labeled(folder, thing(1, 1, 2, 2, "dock"), replace(one, line=7), partial_labels=frozenset({"car"}))
    (checked,), report = check(record)
    assert [kept.label for kept in checked.objects] == ["dock"]
    assert checked.partial_labels == {"ship", "car"}
    assert report.counts == {kind: 1}
    assert str(report.problems[0]) == f"a.json, 0.png, record 7: {reason}"
    assert report.objects == 1


def test_boxes_over_the_edge_are_told_and_kept(folder: Path) -> None:
    objects = (thing(-5, 2, 3, 4), thing(50, 2, 60.9, 4))
    (checked,), report = check(labeled(folder, *objects), skip_bad=False)
    assert checked.objects == objects
    assert report.counts == {"over the edge": 1}
    assert report.num_bad == 0
    assert str(report.problems[0]) == "a.json, 0.png, object 1: ship at (-5, 2, 3, 4) in 60 x 40 pixels"


def test_a_box_that_is_there_twice_is_kept_once(folder: Path) -> None:
    objects = (thing(1, 2, 3, 4), thing(1, 2, 3, 4, "dock"), thing(1, 2, 3, 4, line=9))
    (checked,), report = check(labeled(folder, *objects))
    assert checked.objects == objects[:2]
    assert checked.partial_labels == frozenset()
    assert [problem.origin for problem in report.problems] == ["a.json, 0.png, record 9"]


def test_classes_have_to_be_in_a_list_that_is_given(folder: Path) -> None:
    record = labeled(folder, thing(1, 2, 3, 4), thing(1, 2, 3, 4, "dock"))
    (checked,), report = check(record, classes=["ship"])
    assert [one.label for one in checked.objects] == ["ship"]
    assert str(report.problems[0]) == "a.json, 0.png, object 2: 'dock' is none of the classes"


def test_images_that_cannot_be_used_are_left_out(folder: Path) -> None:
    (folder / "broken.png").write_bytes((folder / "0.png").read_bytes()[:200])
    (folder / "text.png").write_text("not an image")
    records = [
        labeled(folder, name="none.png"),
        labeled(folder, name="broken.png"),
        labeled(folder, name="text.png"),
        labeled(folder, name="1.png", image_size=(WIDTH, HEIGHT)),
        BadRecord("a.json, record 5", "it has no image"),
        labeled(folder, name="2.png", image_size=(HEIGHT, WIDTH)),
    ]
    checked, report = check(*records)
    assert [one.image for one in checked] == [str(folder / "2.png")]
    assert [(problem.kind, problem.origin) for problem in report.problems] == [
        ("missing image", "a.json, none.png"),
        ("unreadable image", "a.json, broken.png"),
        ("unreadable image", "a.json, text.png"),
        ("image size", "a.json, 1.png"),
        ("record", "a.json, record 5"),
    ]
    assert report.problems[3].reason.endswith("1.png has 60 x 40 pixels, not 40 x 60")


def test_without_leave_to_skip_all_is_read_and_then_refused(folder: Path) -> None:
    report = ImportReport()
    records = [labeled(folder, name="none.png"), labeled(folder, thing(5, 5, 5, 5)), labeled(folder, name="1.png")]
    kept = []
    with pytest.raises(BadRecordsError) as caught:
        kept.extend(check_records(records, report))
    assert str(caught.value) == (
        "not all annotations can be used (images that are missing: 1, objects whose box has no area: 1), the first "
        f"being a.json, none.png: there is no image {folder / 'none.png'}: correct them, or leave them out by "
        "--skip-bad (skip_bad=True)"
    )
    assert caught.value.report is report
    assert report.images == 2


def test_images_that_look_the_same_are_told(folder: Path) -> None:
    picture(0).resize((90, 60), Image.Resampling.BICUBIC).save(folder / "larger.jpg", quality=70)
    ImageEnhance.Brightness(picture(1)).enhance(0.7).save(folder / "darker.png")
    names = ("0.png", "1.png", "2.png", "3.png", "larger.jpg", "darker.png")
    checked, report = check(*(labeled(folder, name=name) for name in names))
    assert [Path(one.image).name for one in checked] == ["0.png", "1.png", "2.png", "3.png"]
    assert [problem.reason for problem in report.problems] == [
        f"{folder / 'larger.jpg'} looks like {folder / '0.png'}",
        f"{folder / 'darker.png'} looks like {folder / '1.png'}",
    ]
    assert len(check(*(labeled(folder, name=name) for name in names), find_duplicates=False)[0]) == 6


def test_records_of_one_image_are_no_duplicates(folder: Path) -> None:
    first = labeled(folder, captions=("a harbor",))
    checked, report = check(first, replace(first, captions=("ships",)))
    assert len(checked) == 2
    assert not report.counts


def test_flat_images_are_not_compared(folder: Path) -> None:
    for number in range(2):
        pixels = np.random.default_rng(number).integers(100, 103, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"water{number}.png")
    checked, _ = check(*(labeled(folder, name=f"water{number}.png") for number in range(2)))
    assert len(checked) == 2


def test_rasters_are_compared_too(tmp_path: Path) -> None:
    rgb = example_rasters.harbor()
    example_rasters.write_raster(tmp_path / "a.tif", rgb)
    example_rasters.write_raster(tmp_path / "b.tif", rgb.astype(np.uint16) * 10 + 300)
    example_rasters.write_raster(tmp_path / "c.tif", np.ascontiguousarray(rgb[::-1]))
    checked, report = check(*(labeled(tmp_path, name=f"{name}.tif") for name in "abc"))
    assert [Path(one.image).name for one in checked] == ["a.tif", "c.tif"]
    assert report.counts == {"duplicate image": 1}


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20),
    st.integers(0, 2**64 - 1),
    st.sets(st.integers(0, 63), max_size=6),
)
def test_look_alikes_are_found_as_by_comparing_all(seen: list[int], first: int, flipped: set[int]) -> None:
    look_alikes = LookAlikes()
    for number, value in enumerate([first, *seen]):
        look_alikes.add(value, str(number))
    asked = first ^ sum(1 << bit for bit in flipped)
    near = {str(number) for number, value in enumerate([first, *seen]) if (asked ^ value).bit_count() <= MAX_DISTANCE}
    found = look_alikes.find(asked)
    assert found in near if near else found is None


def test_a_hash_says_where_a_picture_gets_brighter() -> None:
    ramp = np.tile(np.linspace(0, 255, 90).astype(np.uint8)[None, :, None], (80, 1, 3))
    assert difference_hash(ramp) == 2**64 - 1
    assert difference_hash(ramp[:, ::-1]) == 0


numbers = st.floats(-100, 200) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 60.0, 40.0, 1e300])


@given(st.lists(st.builds(thing, *[numbers] * 4), max_size=5))
def test_what_passes_is_seen_in_the_image(folder: Path, objects: list[LabeledObject]) -> None:
    (checked,), report = check(labeled(folder, *objects), find_duplicates=False)
    for one in checked.objects:
        x1, y1, x2, y2 = one.box
        assert min(x2, WIDTH) > max(x1, 0)
        assert min(y2, HEIGHT) > max(y1, 0)
    assert len(checked.objects) + report.num_bad == len(objects)


def test_the_report_names_the_first_and_counts_all() -> None:
    report = ImportReport(images=2, objects=3)
    for number in range(1200):
        report.add("outside", f"a.json, record {number}", "it is outside")
    assert report.lines(examples=1) == [
        "images: 2, objects: 3",
        "objects outside their image: 1,200",
        "  a.json, record 0: it is outside",
        "  and 1,199 more",
    ]
    assert len(report.problems) == 1000
    with pytest.raises(ValueError, match="is not a kind of problem"):
        report.add("wrong", "", "")


def test_every_kind_of_problem_is_in_the_report_by_its_own_words() -> None:
    report = ImportReport()
    for kind in PROBLEM_KINDS:
        report.add(kind, "a.json", kind)
    assert len(report.lines()) == 1 + 2 * len(PROBLEM_KINDS)

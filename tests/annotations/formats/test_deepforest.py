# SPDX-License-Identifier: Apache-2.0
"""DeepForest's CSV comes out as its reader has it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

HEADER = "image_path,xmin,ymin,xmax,ymax,label\n"


def test_what_pandas_writes_is_read(folder, read):
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 40, (30, 2, 2)), axis=1).reshape(30, 4).round(3)
    table = pd.DataFrame(corners, columns=["xmin", "ymin", "xmax", "ymax"])
    table.insert(0, "image_path", np.where(np.arange(30) % 3 == 0, "a.png", "b.png"))
    table["label"] = np.where(np.arange(30) % 2, "Tree, dead", "Tree")
    path = folder / "boxes.csv"
    table.to_csv(path, index=False)
    images, bad = read(path)
    assert bad == []
    for name, rows in table.groupby("image_path"):
        objects = images[name].objects
        assert [found.label for found in objects] == rows["label"].tolist()
        assert np.allclose([found.box for found in objects], rows[["xmin", "ymin", "xmax", "ymax"]])
        assert [found.line for found in objects] == (rows.index + 2).tolist()


def test_a_row_without_a_box_says_that_there_is_none(folder, read):
    path = folder / "boxes.csv"
    path.write_text(HEADER + "a.png,,,,,\nb.png,0,0,0,0,Tree\n")
    images, bad = read(path)
    assert bad == []
    assert [image.objects for image in images.values()] == [(), ()]


def test_what_is_wrong_is_said_and_reading_goes_on(folder, read):
    path = folder / "boxes.csv"
    rows = ["a.png,5,5,1,9,Tree", "a.png,1,2,3,x,Tree", "a.png,1,2,3,4", "gone.png,1,2,3,4,Tree", "", "a.png,1,2,3,4,"]
    path.write_text(HEADER + "\n".join([*rows, "gone.png,1,2,3,4,Tree", "a.png,1,2,3,4,Tree"]))
    images, bad = read(path)
    assert [found.line for found in images["a.png"].objects] == [9]
    assert images["a.png"].partial_labels == {"Tree"}
    assert [line.partition(":")[0] for line in bad] == [f"line {number}" for number in (2, 3, 4, 5, 7)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"image_path,xmin\n", "has no column ymin, xmax, ymax, label, only 'image_path', 'xmin'"),
        (HEADER.encode() + b"a.png,1,2,3,4,\xe9\n", "is not a text file"),
        (b"", "has no column"),
        (HEADER.encode() + b"a" * (2**20 + 1), "line 2 of .* is longer"),
    ],
)
def test_other_files_are_one_error(folder, read, content, reason):
    path = folder / "boxes.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read(path, "deepforest")

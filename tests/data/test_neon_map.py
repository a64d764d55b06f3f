# SPDX-License-Identifier: Apache-2.0
"""The tree crowns as a GIS keeps them come back to their pixels. The images are downloaded (20 MB)."""

import numpy as np
import pytest

from geodit.annotations.vector_labels import read_vector_labels
from geodit.data.neon import fetch_neon, read_voc_boxes
from geodit.data.neon_map import LABEL_FIELD, LABELS, write_neon_map
from geodit.rasters.imagery import open_image

pytest.importorskip("geopandas")


@pytest.fixture(scope="module")
def neon(tmp_path_factory):
    return fetch_neon(tmp_path_factory.mktemp("neon"))


@pytest.fixture(scope="module")
def crowns(neon, tmp_path_factory):
    return write_neon_map(neon, tmp_path_factory.mktemp("map") / "crowns")


def test_crowns_come_back_to_their_pixels(neon, crowns):
    images = sorted(str(path) for path in crowns.glob("*.tif"))
    assert len(images) == 4
    for record in read_vector_labels(images, str(crowns / LABELS), label_field=LABEL_FIELD):
        name = record.image.rpartition("/")[2].removesuffix(".tif")
        boxes, _ = read_voc_boxes(neon / f"{name}.xml")
        found = np.array([one.box for one in record.objects])
        assert len(found) == len(boxes)
        # The order of a map is another one.
        assert np.abs(found[:, None] - boxes[None]).max(axis=-1).min(axis=0).max() < 0.1
        assert {one.label for one in record.objects} == {"tree"}


def test_pixels_are_those_of_the_images(neon, crowns):
    for name in ("OSBS_029.tif", "SOAP_061.png"):
        with open_image(neon / name) as source, open_image(crowns / f"{name[:8]}.tif") as placed:
            np.testing.assert_array_equal(source.read().pixels, placed.read().pixels)
            assert placed.georeference is not None


def test_the_licence_stays_beside_them_and_nothing_is_replaced(neon, crowns):
    assert (crowns / "DEEPFOREST_LICENSE").read_bytes() == (neon / "DEEPFOREST_LICENSE").read_bytes()
    with pytest.raises(FileExistsError):
        write_neon_map(neon, crowns)

# SPDX-License-Identifier: Apache-2.0
"""Find all objects of a class in a whole GeoTIFF, and write them as GeoJSON for a map. Needs the extra `geodit[geo]`.

    python docs/examples/geotiff_to_geojson.py [RASTER CLASS]

Without arguments it looks for ships in four copies of the bundled harbor, side by side.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import rasterio

from geodit import GeoDiTPipeline, ScenePipeline


def write_scene(path):
    """Write a GeoTIFF that is larger than what the model sees at once."""
    with rasterio.open(files("geodit") / "tiny" / "demo_scenes" / "harbor.tif") as harbor:
        pixels, profile = np.tile(harbor.read(), (1, 2, 2)), harbor.profile
    profile.update(height=pixels.shape[1], width=pixels.shape[2])
    with rasterio.open(path, "w", **profile) as scene:
        scene.write(pixels)


raster, query = sys.argv[1:] if len(sys.argv) > 1 else ("harbors.tif", "ship")
if len(sys.argv) == 1:
    write_scene(raster)

# Tiles overlap, and what two of them have found appears once. In tiles of the best size, objects are as large as they
# were in training.
scenes = ScenePipeline(GeoDiTPipeline.from_pretrained("geodit-tiny"))
detections = scenes(raster, query, tile_size=96, overlap=0.25)

# Longitude and latitude, whatever the map of the raster.
features = detections.to_geojson()
output = Path(raster).with_suffix(".geojson")
output.write_text(json.dumps(features))
print(f"{len(features['features'])} x {query} in {detections.prediction.num_tiles} tiles, written to {output}")

# The same boxes in pixels, and in the units of the raster's own map.
for box, map_box in zip(detections.prediction.boxes[:3], detections.prediction.map_boxes, strict=False):
    print([round(value) for value in box], "->", [round(value, 1) for value in map_box], detections.georeference.crs)

# SPDX-License-Identifier: Apache-2.0
"""Ask an image all five kinds of questions, and draw the boxes of the answers.

    python docs/examples/ask_an_image.py [IMAGE]

Without an image it asks a harbor that comes with the package. Any PNG, JPEG or GeoTIFF will do, but the bundled
checkpoint knows only small synthetic scenes.
"""

import sys
from importlib.resources import files

from geodit import GeoDiTPipeline
from geodit.pipelines.visualization import draw_boxes
from geodit.rasters.imagery import read_image

image = sys.argv[1] if len(sys.argv) > 1 else str(files("geodit") / "tiny" / "demo_scenes" / "harbor.tif")

# A folder or the id of a repository on the Hub works as well.
pipe = GeoDiTPipeline.from_pretrained("geodit-tiny")

# `caption` and `classify` take no query: the prompt says it all.
print("caption: ", pipe(image, "caption")[0].text)
print("classify:", pipe(image, "classify")[0].text)
print("vqa:     ", pipe(image, "vqa", "How many ships are there?")[0].text)

# A closed set of answers: the answer is one of them, and each has a probability.
answer = pipe(image, "classify", choices=["harbor", "airport", "residential area"])[0]
for choice, probability in answer.choice_probabilities.items():
    print(f"          {choice}: {probability:.3f}")

# Boxes are (x1, y1, x2, y2) in pixels of the image.
ground = pipe(image, "ground", "the rightmost tank")[0]
detect = pipe(image, "detect", "ship")[0]
for prediction in (ground, detect):
    for label, box, score in zip(prediction.labels, prediction.boxes, prediction.scores, strict=True):
        print(f"{prediction.task + ':':9}", label, [round(value) for value in box], f"score {score:.2f}")

draw_boxes(read_image(image).pixels, detect.boxes, detect.labels).save("boxes.png")
print("the ships are drawn in boxes.png")

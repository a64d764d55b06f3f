# SPDX-License-Identifier: Apache-2.0
"""Fine-tune the bundled checkpoint on boxes of your own, by an adapter (LoRA), and detect with the result.

    python docs/examples/fine_tune_on_boxes.py [UPDATES]

Replace `my_images` by your own images and boxes. 100 updates, the default, take a few minutes on a CPU.
"""

import sys

import numpy as np
from peft import LoraConfig
from PIL import Image, ImageDraw

from geodit import GeoDiTPipeline, GeoDiTTrainer, GeoDiTTrainingArguments
from geodit.data.schema import Question, QuestionDataset, make_dataset, make_row

updates = int(sys.argv[1]) if len(sys.argv) > 1 else 100
random = np.random.default_rng(0)


def my_images(count):
    """Draw one to four pools on sand, 96 x 96 pixels, with a box (x1, y1, x2, y2) in pixels for each pool."""
    for _ in range(count):
        image = Image.fromarray(random.integers(170, 200, (96, 96, 3), dtype=np.uint8))
        boxes = []
        for cell in random.choice(4, size=random.integers(1, 5), replace=False):
            left, top = 48 * (cell % 2) + random.integers(4, 12), 48 * (cell // 2) + random.integers(4, 12)
            width, height = random.integers(14, 30, 2)
            boxes.append((float(left), float(top), float(left + width), float(top + height)))
            ImageDraw.Draw(image).rectangle(boxes[-1], fill=(40, 110, 200))
        yield image, tuple(boxes)


# One row per image, with all questions about it. Every box has its label.
rows = [
    make_row(image, f"pools-{number}", [Question("detect", "pool", boxes=boxes, labels=("pool",) * len(boxes))])
    for number, (image, boxes) in enumerate(my_images(64))
]

trainer = GeoDiTTrainer(
    model="geodit-tiny",
    args=GeoDiTTrainingArguments(
        output_dir="pools-lora",
        max_steps=updates,
        per_device_train_batch_size=8,
        learning_rate=5e-3,
        logging_steps=max(1, updates // 10),
        save_strategy="no",
        report_to="none",
        seed=0,
    ),
    peft_config=LoraConfig(r=16, lora_alpha=32),
    train_dataset=QuestionDataset(make_dataset(rows), in_memory=True),
)
trainer.train()
trainer.save_model()  # the adapter, and the name of the checkpoint that it belongs to

# An image that was not trained on.
image, boxes = next(my_images(1))
pipe = GeoDiTPipeline.from_pretrained(adapter="pools-lora")
prediction = pipe(image, "detect", "pool")[0]
print("true: ", sorted(boxes))
print("found:", sorted(tuple(round(value) for value in box) for box in prediction.boxes))

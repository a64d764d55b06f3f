# SPDX-License-Identifier: Apache-2.0
"""A model small enough to train within a test, questions to train it on, and a Trainer for both."""

import functools
import json

import numpy as np
import pytest
from PIL import Image

from geodit.data.schema import Question
from geodit.trainers.data_collator import GeoDiTDataCollator
from geodit.trainers.runs import dry_run, stages
from geodit.trainers.trainer import GeoDiTTrainer
from geodit.trainers.training_arguments import GeoDiTTrainingArguments
from tiny_models import GEOMETRY, build_model


@pytest.fixture(scope="module", autouse=True)
def small_vocabularies():
    """A new model of a recipe takes its vocabulary from fewer scenes: from all of them it takes five seconds."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (stages, dry_run):
            patch.setattr(module, "vocabulary_texts", functools.partial(module.vocabulary_texts, 100))
        yield


@pytest.fixture
def geometry(tmp_path):
    path = tmp_path / "geometry.json"
    path.write_text(json.dumps(GEOMETRY))
    return path


@pytest.fixture
def model_and_processor(make_model):
    return make_model()


@pytest.fixture(scope="session")
def make_model(device):
    """Builds the model, on the device where a Trainer puts it, and its processor."""

    def build(**vision_config):
        model, processor = build_model(vision=vision_config)
        return model.to(device), processor

    return build


class Items(list):
    """Items with the lengths of their canvases, by which a sampler can group them."""

    def __getitem__(self, index):
        found = super().__getitem__(index)
        return Items(found) if isinstance(index, slice) else found

    @property
    def lengths(self) -> list[int]:
        return [{"detect": 32, "caption": 16, "vqa": 8}[item["question"].task] for item in self]


def make_items(number: int = 8) -> Items:
    """Questions whose canvases have 32, 16 and 8 tokens."""
    rng = np.random.default_rng(0)
    questions = [
        Question("detect", query="ship", boxes=((10, 20, 40, 50), (5, 5, 30, 30)), labels=("ship", "ship")),
        Question("caption", answer="a harbor with two ships", references=("two ships",)),
        Question("vqa", query="How many ships are there?", answer="2", kind="count"),
    ]
    return Items(
        {
            "image": Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)),
            "question": questions[i % 3],
        }
        for i in range(number)
    )


@pytest.fixture
def items():
    return make_items()


def build_trainer(
    model,
    processor,
    items,
    folder,
    *,
    callbacks=(),
    eval_items=None,
    peft_config=None,
    model_init=None,
    score_answers=None,
    **arguments,
) -> GeoDiTTrainer:
    """A Trainer for a few updates, on a CPU unless told otherwise, with whatever arguments else."""
    settings = {
        "output_dir": str(folder),
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "per_device_train_batch_size": 4,
        "max_steps": 2,
        "save_strategy": "no",
        "train_sampling_strategy": "sequential",
        **arguments,
    }
    return GeoDiTTrainer(
        model=model,
        args=GeoDiTTrainingArguments(**settings),
        peft_config=peft_config,
        model_init=model_init,
        score_answers=score_answers,
        data_collator=GeoDiTDataCollator(processor),
        processing_class=processor,
        train_dataset=items,
        eval_dataset=eval_items,
        callbacks=list(callbacks),
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A checkpoint of that model, for tests that leave it as it is."""
    folder = tmp_path_factory.mktemp("base")
    for part in build_model():
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shared_items():
    return make_items()


@pytest.fixture(scope="session")
def where_to_train(device):
    """The arguments by which a Trainer, which takes a GPU if there is one, trains on the tested device."""
    return {"use_cpu": device.type == "cpu"}


@pytest.fixture(scope="session")
def make_trainer(where_to_train):
    return functools.partial(build_trainer, **where_to_train)

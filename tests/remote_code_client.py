# SPDX-License-Identifier: Apache-2.0
"""What someone does who has Transformers, PyTorch and Pillow, and not this package.

`test_remote_code.py` runs this in a process of its own, with two arguments: what to do, as JSON, and the file to write
what came of it to.
"""

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def required_by(*names: str) -> set[str]:
    """The distributions of these names, and those that they require."""
    found: set[str] = set()
    open_names = list(names)
    while open_names:
        name = canonicalize_name(open_names.pop())
        if name not in found:
            found.add(name)
            requirements = [Requirement(line) for line in metadata.requires(name) or ()]
            open_names += [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]
    return found


def hide_other_packages() -> list[str]:
    """Lets this process find no packages but those that someone has who installed Transformers, PyTorch and Pillow."""
    present = required_by("transformers", "torch", "pillow")
    installed = metadata.packages_distributions()
    hidden = [name for name, names in installed.items() if not {canonicalize_name(n) for n in names} & present]
    # geodit may be found in ways that leave no trace there.
    hidden = [name for name in {*hidden, "geodit"} if name not in sys.modules]
    # An import looks here first, and fails if it finds None.
    sys.modules.update(dict.fromkeys(hidden))
    return hidden


HIDDEN = hide_other_packages()

from PIL import Image  # noqa: E402
from transformers import (  # noqa: E402
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
    pipeline,
)

MODEL_CLASSES = (AutoModel, AutoModelForImageTextToText, AutoModelForMultimodalLM)


def error_of(action, *args: Any, **kwargs: Any) -> str:
    """The type and the message of the exception that a call raises, or "" if there is none."""
    try:
        action(*args, **kwargs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def import_geodit() -> None:
    import geodit  # noqa: F401


def trusting(checkpoint: str) -> tuple[str, dict[str, Any]]:
    """The name that a checkpoint is loaded by, and the arguments that let its own code run."""
    name, _, revision = checkpoint.partition("@")
    return name, {"trust_remote_code": True, **({"revision": revision} if revision else {})}


def ask(checkpoint: str, job: dict[str, Any]) -> dict[str, Any]:
    """Loads a checkpoint in every way, and asks each model the question of the job with each of its settings.

    A Hub id may end in `@` and a commit.
    """
    checkpoint, trusted = trusting(checkpoint)
    image = Image.open(job["image"])
    processor = AutoProcessor.from_pretrained(checkpoint, **trusted)
    inputs = processor(images=image, text=job["query"], task=job["task"], return_tensors="pt")
    loaded = {"AutoConfig": AutoConfig.from_pretrained(checkpoint, **trusted), "AutoProcessor": processor}
    answers = {}
    for auto_class in MODEL_CLASSES:
        name = auto_class.__name__
        loaded[name] = model = auto_class.from_pretrained(checkpoint, **trusted)
        answers[name] = [model.generate(**inputs, **settings).tolist() for settings in job["settings"]]

    content = [{"type": "image", "image": image}, {"type": "text", "text": job["prompt"]}]
    chat = [{"role": "user", "content": content}]
    pipe = pipeline("image-text-to-text", model=checkpoint, **trusted)
    answers["pipeline"] = [
        [pipe(text=chat, generate_kwargs=settings, return_tensors=True)[0]["generated_token_ids"].tolist()]
        for settings in job["settings"]
    ]
    return {
        "classes": {name: f"{type(item).__module__} {type(item).__name__}" for name, item in loaded.items()},
        "answers": answers,
    }


def save(checkpoint: str, folder: Path) -> None:
    """Saves what `checkpoint` loads: the model and the processor to `folder`, the configuration to another."""
    name, trusted = trusting(checkpoint)
    AutoModel.from_pretrained(name, **trusted).save_pretrained(folder)
    AutoProcessor.from_pretrained(name, **trusted).save_pretrained(folder)
    config = AutoConfig.from_pretrained(name, **trusted)
    config.save_pretrained(folder.with_name("config-alone"))


def main() -> None:
    job = json.loads(sys.argv[1])
    first, *others = job["checkpoints"]
    outcome = {
        "hidden": HIDDEN,
        "import": error_of(import_geodit),
        "untrusted": {
            loader.__name__: error_of(loader.from_pretrained, first.partition("@")[0])
            for loader in (AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor)
        },
        "asked": {first: ask(first, job)},
    }
    if "save_to" in job:
        save(first, Path(job["save_to"]))
        others.append(job["save_to"])
    outcome["asked"] |= {checkpoint: ask(checkpoint, job) for checkpoint in others}
    outcome["imported"] = [name for name, module in sys.modules.items() if module and name.split(".")[0] == "geodit"]
    Path(sys.argv[2]).write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()

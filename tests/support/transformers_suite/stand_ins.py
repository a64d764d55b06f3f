# SPDX-License-Identifier: Apache-2.0
"""What the tests of Transformers import and its source distribution lacks."""

import re
import types
from pathlib import Path

import numpy as np
from PIL import Image

FILES = {
    # Two of the modules execute these, to come by the module `transformers`.
    "tests/__init__.py": "",
    "src/transformers/__init__.py": "",
    # The models on the Hub that pipelines are tested with. The tests here make their own.
    "tests/utils/tiny_model_summary.json": "{}",
}
"""Files, by their path in the source distribution."""


class GenerationTesterMixin:
    """Tests of autoregressive generation."""


class ExportTesterMixin:
    """Tests of the exporters; those of GeoDiT are in `test_export.py`."""


def run_distributed(*_: object, **__: object) -> None:
    """Starts several processes."""
    raise NotImplementedError("the source distribution of Transformers lacks its distributed_testing_utils")


MODULES: dict[str, dict[str, object]] = {
    "distributed_testing_utils": {"run_distributed": run_distributed},
    "exporters": {},
    "exporters.test_export": {"ExportTesterMixin": ExportTesterMixin},
    "generation": {},
    "generation.test_utils": {"GenerationTesterMixin": GenerationTesterMixin},
    "utils": {},
    # Fields that every configuration has, with values that are not the defaults.
    "utils.test_configuration_utils": {
        "config_common_kwargs": {
            "return_dict": False,
            "output_hidden_states": True,
            "output_attentions": True,
            "architectures": ["AnyModel"],
            "id2label": {0: "label"},
            "label2id": {"label": 0},
            "problem_type": "regression",
        }
    },
}
"""Modules below the package of the tests, with their contents."""


def stand_ins(package: str, tests: Path, pictures: Path) -> dict[str, types.ModuleType]:
    """Make the modules.

    Args:
        package: The package that all but the last are below.
        tests: The folder of that package.
        pictures: The folder for those that are drawn in place of pictures on the Hub.

    Returns:
        The modules by name.
    """
    modules = {}
    contents = MODULES | _pipeline_tests(tests / "test_pipeline_mixin.py")
    for name, content in contents.items():
        module = types.ModuleType(f"{package}.{name}")
        if any(other.startswith(f"{name}.") for other in contents):
            module.__path__ = []
        vars(module).update(content)
        modules[module.__name__] = module
    fetcher = types.ModuleType("fetch_hub_objects_for_ci")
    vars(fetcher)["url_to_local_path"] = lambda url, return_url_if_not_found=True: _local_picture(url, pictures)
    return {**modules, fetcher.__name__: fetcher}


def _pipeline_tests(mixin: Path) -> dict[str, dict[str, object]]:
    """Make the tests of each task. Up to Transformers 5.22 the mixin imports them; later it names them by strings."""
    imports = re.findall(r"^from \.(pipelines\.\w+) import (\w+)$", mixin.read_text(), re.MULTILINE)
    tests: dict[str, dict[str, object]] = {module: {name: type(name, (), {})} for module, name in imports}
    return tests and {"pipelines": {}, **tests}


def _local_picture(url: str, folder: Path) -> str:
    """Draw what has the address of a picture; what else is on the Hub does not exist here."""
    file = folder / url.rpartition("/")[2]
    if file.suffix not in (".jpg", ".png"):
        return url
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    return str(file)


__all__ = ["FILES", "stand_ins"]

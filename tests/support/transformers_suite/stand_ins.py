# SPDX-License-Identifier: Apache-2.0
"""What the tests of Transformers import and its source distribution lacks."""

import types

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


def stand_ins(package: str) -> dict[str, types.ModuleType]:
    """The modules, by name, of which all but the last are below `package`."""
    modules = {}
    for name, content in MODULES.items():
        module = types.ModuleType(f"{package}.{name}")
        if any(other.startswith(f"{name}.") for other in MODULES):
            module.__path__ = []
        vars(module).update(content)
        modules[module.__name__] = module
    # Downloads pictures and sounds, which no test here needs.
    fetcher = types.ModuleType("fetch_hub_objects_for_ci")
    vars(fetcher)["url_to_local_path"] = lambda url: url
    return {**modules, fetcher.__name__: fetcher}


__all__ = ["FILES", "stand_ins"]

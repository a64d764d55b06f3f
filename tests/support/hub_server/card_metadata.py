# SPDX-License-Identifier: Apache-2.0
"""The metadata at the top of a README.md, and what the Hub finds wrong with it.

The rules are those of modelcard.md and datasetcard.md in https://github.com/huggingface/hub-docs, as far as they need
no list that only the Hub has, such as that of the licences.
"""

from collections.abc import Iterator
from typing import Any

import yaml
from huggingface_hub.repocard import REGEX_YAML_BLOCK

TEXTS = ("library_name", "license_name", "license_link", "pipeline_tag", "pretty_name", "thumbnail")
LISTS = ("tags", "metrics", "task_categories", "size_categories")
TEXTS_OR_LISTS = ("license", "language", "datasets", "base_model")
RELATIONS = ("adapter", "finetune", "merge", "quantized")


def front_matter(card: str) -> Any:
    """What the YAML block of a card holds; None without a block.

    Raises:
        yaml.YAMLError: It is not YAML.
    """
    block = REGEX_YAML_BLOCK.search(card)
    return yaml.safe_load(block.group(2)) if block else None


def errors_of(card: str) -> list[str]:
    """What is wrong with the metadata of a card; empty if nothing is."""
    try:
        metadata = front_matter(card)
    except yaml.YAMLError as error:
        return [f"bad YAML: {error}"]
    if metadata is None:
        return []
    if not isinstance(metadata, dict):
        return ["the metadata must be an object"]
    return [*_wrong_fields(metadata), *_wrong_results(metadata.get("model-index", []))]


def _wrong_fields(metadata: dict[str, Any]) -> Iterator[str]:
    for name, value in metadata.items():
        if name in TEXTS and not isinstance(value, str):
            yield f'"{name}" must be a string'
        if name in LISTS and not _are_texts(value):
            yield f'"{name}" must be an array of strings'
        if name in TEXTS_OR_LISTS and not (isinstance(value, str) or _are_texts(value)):
            yield f'"{name}" must be a string or an array of strings'
    if metadata.get("base_model_relation", RELATIONS[0]) not in RELATIONS:
        yield f'"base_model_relation" must be one of {", ".join(RELATIONS)}'


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _wrong_results(models: Any) -> Iterator[str]:
    """What `model-index` lacks: every result needs its task, its data set and its metrics."""
    for place, model in _entries(models, "model-index"):
        yield from _missing(model, place, "name")
        for at, result in _entries(model.get("results"), f"{place}.results"):
            yield from _missing(result.get("task"), f"{at}.task", "type")
            yield from _missing(result.get("dataset"), f"{at}.dataset", "type", "name")
            for at_metric, metric in _entries(result.get("metrics"), f"{at}.metrics"):
                yield from _missing(metric, at_metric, "type", "value")


def _entries(values: Any, place: str) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a list with the place of each; anything else counts as an object that lacks everything."""
    if not isinstance(values, list):
        return [(place, {})]
    return [(f"{place}[{n}]", value if isinstance(value, dict) else {}) for n, value in enumerate(values)]


def _missing(value: Any, place: str, *names: str) -> Iterator[str]:
    for name in names:
        if not isinstance(value, dict) or value.get(name) is None:
            yield f'"{place}.{name}" is required'

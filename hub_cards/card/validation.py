# SPDX-License-Identifier: Apache-2.0
"""The Hub's rules for the metadata of a card and for `.eval_results`, checked without the Hub.

The Hub itself checks them when a card is uploaded (`ModelCard.validate` asks it to). The rules here are those that it
has published: https://github.com/huggingface/hub-docs has `modelcard.md` (fields and the model index),
`datasetcard.md`, `docs/hub/repositories-licenses.md` (identifiers of licences) and `docs/hub/eval-results.md`; that an
id has the right form and that the model index and the results can be read, huggingface_hub decides.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, RepoCard, parse_eval_result_entries
from huggingface_hub.repocard_data import model_index_to_eval_results

from geodit.configuration.hub_ids import hub_id_problem

__all__ = ["LICENSES", "check_card", "check_eval_results"]

# fmt: off
LICENSES = frozenset({
    "afl-3.0", "agpl-3.0", "apache-2.0", "apple-amlr", "apple-ascl", "artistic-2.0", "bigcode-openrail-m",
    "bigscience-bloom-rail-1.0", "bigscience-openrail-m", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0",
    "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "cdla-sharing-1.0", "creativeml-openrail-m",
    "deepfloyd-if-license", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "gemma", "gfdl",
    "gpl", "gpl-2.0", "gpl-3.0", "intel-research", "isc", "lgpl", "lgpl-2.1", "lgpl-3.0", "lgpl-lr", "llama2",
    "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "lppl-1.3c", "mit", "mpl-2.0", "ms-pl", "ncsa", "odbl",
    "odc-by", "ofl-1.1", "openrail", "openrail++", "osl-3.0", "other", "pddl", "postgresql", "unknown", "unlicense",
    "wtfpl", "zlib",
})
# fmt: on
"""The identifiers of licences that the Hub knows."""

_LANGUAGE = re.compile(r"[a-z]{2,3}|code|multilingual")
_RELATIONS = ("adapter", "finetune", "merge", "quantized")


def check_card(card: RepoCard, what: str = "the card") -> None:
    """Find out whether the Hub would take a card.

    Args:
        card: A model card or a data-set card.
        what: What the card is called in the error.

    Raises:
        ValueError: If it would not; the message names every field that is wrong.
    """
    metadata = yaml.safe_load(card.data.to_yaml())
    problems = list(_problems(metadata)) if metadata else ["it has no front matter"]
    if problems:
        raise ValueError(f"The Hub would not take {what}: {'; '.join(problems)}")


def check_eval_results(content: bytes, what: str) -> list[EvalResultEntry]:
    """Find out whether the Hub would take a file of `.eval_results/`.

    Args:
        content: The YAML.
        what: Path of the file, for the error.

    Returns:
        Its entries.

    Raises:
        ValueError: If it would not.
    """
    document = yaml.safe_load(content)
    try:
        entries = parse_eval_result_entries(document)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"The Hub would not take {what}: an entry has no {error}") from error
    for entry in entries:
        problem = _id_problem(f"dataset.id of {what}", entry.dataset_id)
        if problem:
            raise ValueError(f"The Hub would not take {what}: {problem}")
        if not _is_finite(entry.value):
            raise ValueError(
                f"The Hub would not take {what}: value must be a finite number, but is {entry.value!r:.80}"
            )
    return entries


def _problems(metadata: Mapping[str, object]) -> Iterator[str]:
    for license in _listed(metadata.get("license")):
        if license not in LICENSES:
            yield (
                f"license {license!r:.80} is none of the identifiers of https://huggingface.co/docs/hub/"
                "repositories-licenses, such as apache-2.0 or other"
            )
    for language in _listed(metadata.get("language")):
        if not (isinstance(language, str) and _LANGUAGE.fullmatch(language)):
            yield f"language {language!r:.80} must be an ISO 639 code in small letters, such as en"
    for name in ("base_model", "datasets"):
        for hub_id in _listed(metadata.get(name)):
            problem = _id_problem(name, hub_id)
            if problem:
                yield problem
    relation = metadata.get("base_model_relation")
    if relation is not None and relation not in _RELATIONS:
        yield f"base_model_relation must be one of {', '.join(_RELATIONS)}, but is {relation!r:.80}"
    for tag in _listed(metadata.get("tags")):
        if not isinstance(tag, str) or not tag.strip():
            yield f"tags must be words, but one is {tag!r:.80}"
    if "model-index" in metadata:
        yield from _model_index_problems(metadata["model-index"])


def _model_index_problems(model_index: Any) -> Iterator[str]:
    try:
        _, results = model_index_to_eval_results(model_index)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        yield f"model-index cannot be read: {error}"
        return
    for result in results:
        if not _is_finite(result.metric_value):
            yield (
                f"model-index has {result.metric_value!r:.80} for {result.metric_name or result.metric_type} of "
                f"{result.dataset_name}, which is no finite number"
            )


def _listed(value: object) -> list[object]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _id_problem(name: str, hub_id: object) -> str | None:
    problem = hub_id_problem(hub_id)
    return None if problem is None else f"{name} {hub_id!r:.80} is no Hub id: {problem}"


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

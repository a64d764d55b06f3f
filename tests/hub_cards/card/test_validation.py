# SPDX-License-Identifier: Apache-2.0
"""The Hub's rules, checked without it."""

import math

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from geodit.hub_cards.card.validation import LICENSES, check_card, check_eval_results


def card(**metadata):
    return ModelCard(f"---\n{yaml.safe_dump(metadata)}---\n# A model\n")


def result(value):
    return EvalResult(
        task_type="object-detection",
        dataset_type="synthetic",
        dataset_name="scenes",
        metric_type="f1",
        metric_value=value,
    )


def test_what_the_hub_takes_passes():
    data = ModelCardData(
        license="mit",
        language=["en", "fr"],
        base_model=["org/a", "gpt2"],
        base_model_relation="adapter",
        datasets=["org/b"],
        tags=["a"],
        model_name="x",
        eval_results=[result(0.5)],
    )
    check_card(ModelCard(f"---\n{data.to_yaml()}\n---\n"))
    check_card(card(license="other"))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"license": "Apache 2.0"}, "license 'Apache 2.0' is none of the identifiers"),
        ({"license": ["mit", "mine"]}, "license 'mine'"),
        ({"language": "English"}, "language 'English' must be an ISO 639 code"),
        ({"base_model": "/home/alice/runs/stage2"}, "base_model '/home/alice/runs/stage2' is no Hub id"),
        ({"base_model": ["org/a", 5]}, "base_model 5 is no Hub id"),
        ({"datasets": ["a/b/c"]}, "datasets 'a/b/c' is no Hub id"),
        ({"base_model_relation": "child"}, "base_model_relation must be one of adapter"),
        ({"tags": ["a", 5]}, "tags must be words, but one is 5"),
    ],
)
def test_what_it_does_not_take_is_named(metadata, message):
    with pytest.raises(ValueError, match=f"The Hub would not take the card: .*{message}"):
        check_card(card(**metadata))


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(ValueError, match=r"license 'x'.*language 'English'"):
        check_card(card(license="x", language="English"))


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.5 ± 0.1", True])
def test_a_figure_must_be_a_number(value):
    data = ModelCardData(model_name="x", eval_results=[result(value)])
    with pytest.raises(ValueError, match="for f1 of scenes, which is no finite number"):
        check_card(ModelCard(f"---\n{data.to_yaml()}\n---\n"))


def test_a_card_needs_metadata():
    with pytest.raises(ValueError, match="no front matter"):
        check_card(ModelCard("# A model\n"))


def test_the_licences_are_written_as_the_hub_writes_them():
    assert {"apache-2.0", "mit", "cc-by-4.0", "other"} <= LICENSES
    assert all(license == license.lower().strip() for license in LICENSES)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"dataset": {"id": "org/a"}, "value": 1}], "an entry has no 'task_id'"),
        ([{"dataset": {"id": "org/a", "task_id": "t"}}], "an entry has no 'value'"),
        ([{"dataset": {"id": "a/b/c", "task_id": "t"}, "value": 1}], "'a/b/c' is no Hub id"),
        ([{"dataset": {"id": "org/a", "task_id": "t"}, "value": "high"}], "must be a finite number, but is 'high'"),
        ([{"dataset": {"id": "org/a", "task_id": "t"}, "value": 1, "source": {"name": "x"}}], "source_url"),
        ("text", "The Hub would not take r.yaml"),
    ],
)
def test_results_that_it_does_not_take_are_named(entries, message):
    with pytest.raises(ValueError, match=message):
        check_eval_results(yaml.safe_dump(entries).encode(), "r.yaml")

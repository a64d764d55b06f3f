# SPDX-License-Identifier: Apache-2.0
"""What the recipes of a checkpoint say that it was trained on."""

from geodit.data.readers.registry import get_reader
from geodit.hub_cards.card.training_data import PublishedDataset, training_data
from geodit.hub_cards.card.training_history import TrainingStage


def data(*recipes):
    return training_data([TrainingStage(str(index), recipe, ()) for index, recipe in enumerate(recipes)])


def test_what_this_package_makes_is_named_with_a_number():
    found = data({"num_scenes": 3, "num_neon_tiles": 0}, {"num_text_scenes": 2})
    assert found.made == {"synthetic", "text"}
    assert found.published == ()


def test_published_data_sets_come_with_what_is_known_of_them():
    found = data({"datasets": ["rsicd=X"]}, {"datasets": ["mmrs-1m:optical=X", "mmrs-1m:sar=X", "rsicd=Y"]})
    rsicd, mmrs = found.published
    reader = get_reader("rsicd")
    assert rsicd == PublishedDataset("rsicd", ("train",), reader.description, reader.download, reader.licence)
    assert (mmrs.name, mmrs.splits) == ("mmrs-1m", ("optical", "sar"))


def test_a_data_set_that_this_version_does_not_know_is_named():
    assert data({"datasets": ["of-tomorrow=X"]}).published == (PublishedDataset("of-tomorrow", ("train",)),)


def test_without_recipes_nothing_is_known():
    assert not data({}, {"learning_rate": 0.1})
    assert data({"num_scenes": 1})


def test_trees_alone():
    assert data({"num_neon_tiles": 5}).is_trees_alone
    assert not data({"num_neon_tiles": 5, "num_scenes": 5}).is_trees_alone
    assert not data({"num_neon_tiles": 5, "datasets": ["rsicd=X"]}).is_trees_alone

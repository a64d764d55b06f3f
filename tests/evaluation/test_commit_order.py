# SPDX-License-Identifier: Apache-2.0
"""Which kinds of tokens are committed when."""

from types import SimpleNamespace

import pytest
import torch

from geodit.evaluation.commit_order import committed_shares, read_commit_steps


def steps_of(processor, text, task, *, behind=()):
    """Number the tokens of a text, the EOS behind it and what follows, each committed one step later."""
    ids = [
        *processor.tokenizer.encode(text, add_special_tokens=False), processor.tokenizer.eos_token_id, *behind
    ]  # fmt: skip
    answer = SimpleNamespace(canvas=torch.tensor(ids), commit_steps=torch.arange(len(ids)))
    return dict(read_commit_steps(processor, answer, task)), len(ids) - len(behind) - 1


def test_tokens_of_boxes_are_locations_labels_and_separators(processor):
    found, end = steps_of(processor, "ship<loc_1><loc_2><loc_3><loc_4>, ", "detect")
    assert found["location"] == (1, 2, 3, 4)
    assert found["label"] == (0,)
    assert found["end"] == (end,)
    assert set(found) == {"location", "label", "separator", "end"}


def test_tokens_of_texts_are_words(processor):
    found, end = steps_of(processor, "some ships", "caption")
    assert "label" not in found
    assert set(found["word"]) <= set(range(end))
    assert found["end"] == (end,)


def test_what_follows_the_first_eos_is_not_of_the_answer(processor):
    eos = processor.tokenizer.eos_token_id
    assert steps_of(processor, "ship", "vqa", behind=[eos, eos]) == steps_of(processor, "ship", "vqa")


def test_tokens_that_were_never_committed_do_not_count(processor):
    ids = processor.tokenizer.encode("ship tree", add_special_tokens=False)
    answer = SimpleNamespace(canvas=torch.tensor(ids), commit_steps=torch.full((len(ids),), -1))
    assert read_commit_steps(processor, answer, "vqa") == ()


def test_shares_grow_to_one():
    answers = [(("location", (0, 1, 1, 3)), ("end", (0,))), (("end", (1,)),), ()]
    shares = committed_shares(answers)
    assert list(shares) == ["location", "end"]
    assert shares["location"] == pytest.approx([0.25, 0.75, 0.75, 1.0])
    assert shares["end"] == pytest.approx([0.5, 1.0, 1.0, 1.0])
    assert committed_shares([()]) == {}

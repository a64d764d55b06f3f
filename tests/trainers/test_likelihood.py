# SPDX-License-Identifier: Apache-2.0
"""The bound on the likelihood of held-out answers: an average over what may be hidden, with an honest error."""

import itertools
import math
import statistics

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from transformers.utils.generic import ModelOutput

from defined_environment import DEVICE
from geodit.data.schema import TASKS
from geodit.trainers.item_records import TASK_IDS
from geodit.trainers.likelihood import answer_nll, evaluate_nll
from geodit.trainers.noise import UpdateNoise
from on_device import moved

MASK, VOCABULARY = 2, 11


class Toy(nn.Module):
    """Predicts from all tokens of a row and the place in it; what is hidden therefore matters."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.tokens = torch.randn(VOCABULARY, VOCABULARY, generator=generator)
        self.places = torch.randn(6, VOCABULARY, generator=generator)

    def forward(self, input_ids, canvas_mask, logits_to_keep):
        tokens, places = moved((self.tokens, self.places), input_ids.device)
        logits = tokens[input_ids].mean(1, keepdim=True) + places[: input_ids.shape[1]]
        return ModelOutput(logits=logits[logits_to_keep])


def make_batch():
    """Two answers, of three and of two tokens, behind prompts of two."""
    input_ids = torch.tensor([[3, 4, 5, 6, 7, 1], [4, 4, 8, 9, 1, 1]])
    labels = torch.where(torch.tensor([[0, 0, 1, 1, 1, 0], [0, 0, 1, 1, 0, 0]]).bool(), input_ids, -100)
    return {"input_ids": input_ids, "labels": labels}


def exact_bound(row: int) -> float:
    """The mean over every number of hidden tokens and every choice of them."""
    batch = make_batch()
    input_ids, canvas = batch["input_ids"][row], (batch["labels"][row] != -100).nonzero()[:, 0].tolist()
    by_count = []
    for count in range(1, len(canvas) + 1):
        means = []
        for hidden in itertools.combinations(canvas, count):
            masked = input_ids.clone()
            masked[list(hidden)] = MASK
            keep = torch.zeros(1, 6, dtype=torch.bool)
            keep[0, list(hidden)] = True
            logits = Toy()(masked[None], None, keep).logits.log_softmax(-1)
            means.append(-statistics.fmean(logits[i, input_ids[place]].item() for i, place in enumerate(hidden)))
        by_count.append(statistics.fmean(means))
    return statistics.fmean(by_count)


def test_many_draws_come_to_the_exact_bound():
    batch, draws = moved(make_batch(), DEVICE), 1000
    noise = UpdateNoise(0, 0, torch.tensor([[2] * draws]))
    found = answer_nll(Toy(), batch, MASK, [noise.take(batch["labels"] != -100) for _ in range(draws)])
    assert found.tolist() == pytest.approx([exact_bound(0), exact_bound(1)], rel=0.01)


def test_the_draws_of_an_answer_are_spread_over_the_numbers_of_hidden_tokens():
    """Three draws of an answer of three tokens hide one, two and all three, so that chance only picks which."""
    batch = moved({name: value[:1] for name, value in make_batch().items()}, DEVICE)
    counts = []

    class Counting(Toy):
        def forward(self, input_ids, canvas_mask, logits_to_keep):
            counts.append(int(logits_to_keep.sum()))
            return super().forward(input_ids, canvas_mask, logits_to_keep)

    noise = UpdateNoise(0, 0, torch.tensor([[1, 1, 1]]))
    answer_nll(Counting(), batch, MASK, [noise.take(batch["labels"] != -100) for _ in range(3)])
    assert counts == [1, 2, 3]


def test_means_and_errors_are_those_of_the_answers():
    batch = make_batch() | {TASK_IDS: torch.tensor([TASKS.index("vqa"), TASKS.index("caption")])}
    batch = moved(batch, DEVICE)
    shared = {"num_draws": 4, "seed": 5, "accelerator": Accelerator(cpu=DEVICE == "cpu")}
    figures = evaluate_nll(Toy(), [batch, batch], MASK, **shared)
    assert figures == evaluate_nll(Toy(), [batch, batch], MASK, **shared)
    assert figures["nll_answers"] == 4
    assert figures["nll"] == pytest.approx((figures["nll_vqa"] + figures["nll_caption"]) / 2)
    # Two answers x and y: their mean and |x - y| / 2.
    one = evaluate_nll(Toy(), [batch], MASK, **shared)
    assert one["nll_stderr"] == pytest.approx(abs(one["nll_vqa"] - one["nll_caption"]) / 2)
    assert "nll_vqa_stderr" not in one
    assert math.isclose(figures["nll"], statistics.fmean([exact_bound(0), exact_bound(1)]), rel_tol=0.2)


def test_a_trainer_reports_the_bound_and_goes_on_as_if_it_had_not(make_trainer, model_and_processor, items, tmp_path):
    trainer = make_trainer(*model_and_processor, items, tmp_path, eval_items=items[:5], eval_nll_draws=3)
    state = torch.random.get_rng_state()
    metrics = trainer.evaluate()
    assert torch.random.get_rng_state().equal(state)
    assert {"eval_nll", "eval_nll_stderr", "eval_nll_detect", "eval_nll_vqa", "eval_loss"} <= metrics.keys()
    assert metrics["eval_nll_answers"] == 5
    # New weights predict about uniformly; the loss estimates the same bound with one draw and more noise.
    assert metrics["eval_nll"] == pytest.approx(math.log(len(model_and_processor[1].tokenizer)), rel=0.1)
    assert trainer.evaluate()["eval_nll"] == metrics["eval_nll"]

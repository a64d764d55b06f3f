# SPDX-License-Identifier: Apache-2.0
"""The training logs as a picture."""

import importlib.util
import io

import pytest
from PIL import Image

from geodit.hub_cards.card.training_history import TrainingStage, read_stages
from geodit.hub_cards.card.training_plots import can_plot, training_plot

pytest.importorskip("matplotlib")

LOG = tuple({"loss": 1 / step, "step": step} for step in range(1, 9))


def size(png):
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return image.size


def test_every_stage_with_a_log_has_a_panel(documented):
    stages = read_stages(documented)
    assert len(stages) == 4
    one, three, four = (size(training_plot(stages[:number])) for number in (1, 3, 4))
    assert three == (3 * one[0], one[1])
    assert four == (3 * one[0], 2 * one[1])


def test_the_same_logs_give_the_same_file(documented):
    stages = read_stages(documented)
    assert training_plot(stages) == training_plot(stages)
    assert training_plot(stages) != training_plot(stages[:1])


def test_rewards_are_drawn_instead_of_losses():
    tuned = TrainingStage("grpo", {}, tuple({**entry, "reward": entry["step"] / 10} for entry in LOG))
    assert training_plot([tuned]) != training_plot([TrainingStage("grpo", {}, LOG)])


@pytest.mark.parametrize("log", [LOG[:1], ({"loss": float("nan"), "step": 1}, *LOG)])
def test_a_single_point_and_a_loss_that_diverged_are_drawn(log):
    assert size(training_plot([TrainingStage("a", {}, log)]))


def test_without_logs_there_is_nothing_to_draw():
    stages = [TrainingStage("a", {"seed": 1}, ())]
    assert not can_plot(stages)
    with pytest.raises(ValueError, match="no log"):
        training_plot(stages)


def test_without_matplotlib_there_is_no_plot(documented, monkeypatch):
    stages = read_stages(documented)
    assert can_plot(stages)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    assert not can_plot(stages)

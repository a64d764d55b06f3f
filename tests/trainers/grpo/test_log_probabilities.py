# SPDX-License-Identifier: Apache-2.0
"""Estimates of log-probabilities, against the model asked token by token."""

import pytest
import torch
from PIL import Image

from geodit.trainers.grpo.log_probabilities import (
    LOG_PROBABILITY_ESTIMATORS,
    draw_hidden_tokens,
    token_log_probabilities,
)
from geodit.trainers.grpo.rollouts import sample_rollouts


@pytest.fixture
def sampled(model_and_processor, items):
    """Two answers to each of a caption, a detection and a question, whose canvases have 16, 32 and 8 tokens."""
    model, processor = model_and_processor
    named = [{**item, "image_id": str(index)} for index, item in enumerate(items[:3])]
    generators = [torch.Generator().manual_seed(seed) for seed in range(6)]
    rollouts = sample_rollouts(
        model.eval(), processor, named, num_generations=2, temperature=1.0, generators=generators
    )
    return model, processor, rollouts


def hidden_tokens(model, rollouts, estimator="one_step", prompt_masking=0.3, seed=0):
    return draw_hidden_tokens(
        rollouts,
        estimator=estimator,
        prompt_masking=prompt_masking,
        image_token_id=model.config.image_token_id,
        generator=torch.Generator().manual_seed(seed),
    )


@torch.no_grad()
def brute_force(model, rollouts, hidden, temperature):
    """One forward pass, with all logits, for each row and token, of the row alone and without padding."""
    result = torch.zeros(rollouts.canvas_ids.shape, device=model.device)
    for row in range(len(rollouts)):
        real = rollouts.prompt_mask[row]
        length = int(rollouts.canvas_mask[row].sum())
        prompt = torch.where(hidden.prompt[row], model.config.mask_token_id, rollouts.prompt_ids[row])[real]
        image = {name: value[rollouts.image_index[row]][None] for name, value in rollouts.image_inputs.items()}
        for position in range(length):
            if not rollouts.decided[row, position]:
                continue
            (turn,) = hidden.asked[:, row, position].nonzero()
            canvas_hidden = hidden.canvas[turn, row, :length][0]
            canvas = torch.where(canvas_hidden, model.config.mask_token_id, rollouts.canvas_ids[row, :length])
            logits = model(input_ids=torch.cat([prompt, canvas])[None], **image).logits[0, len(prompt) + position]
            result[row, position] = (logits / temperature).log_softmax(-1)[rollouts.canvas_ids[row, position]]
    return result


@pytest.mark.parametrize("estimator", LOG_PROBABILITY_ESTIMATORS)
def test_they_are_what_the_model_says_about_each_token(sampled, estimator):
    model, _, rollouts = sampled
    hidden = hidden_tokens(model, rollouts, estimator)
    with torch.no_grad():
        found = token_log_probabilities(
            model, rollouts, hidden, mask_token_id=model.config.mask_token_id, temperature=0.7
        )
    torch.testing.assert_close(found, brute_force(model, rollouts, hidden, 0.7), atol=1e-5, rtol=1e-4)
    assert (found[~rollouts.decided] == 0).all()
    assert (found[rollouts.decided] < 0).all()


def test_some_rows_are_estimated_as_all_are(sampled):
    model, _, rollouts = sampled
    hidden = hidden_tokens(model, rollouts)
    rows = torch.tensor([4, 1])
    common = {"mask_token_id": model.config.mask_token_id}
    with torch.no_grad():
        every = token_log_probabilities(model, rollouts, hidden, **common)
        some = token_log_probabilities(model, rollouts.take(rows), hidden.take(rows), **common)
    torch.testing.assert_close(some, every[rows])


def test_the_first_denoising_step_has_the_probabilities_of_one_step(model_and_processor, items):
    """With one denoising step everything is committed while all is hidden: `generate` reports the same numbers."""
    model, processor = model_and_processor
    item = {**items[2], "image_id": "0"}
    rollouts = sample_rollouts(model.eval(), processor, [item], max_denoising_steps=1)
    inputs = processor(images=item["image"], text=item["question"].query, task="vqa", return_tensors="pt")
    inputs = inputs.to(model.device)
    output = model.generate(
        **inputs, max_new_tokens=8, max_denoising_steps=1, return_dict_in_generate=True, temperature=0.0
    )
    with torch.no_grad():
        found = token_log_probabilities(
            model,
            rollouts,
            hidden_tokens(model, rollouts, prompt_masking=0.0),
            mask_token_id=model.config.mask_token_id,
        )
    decided = rollouts.decided
    torch.testing.assert_close(found.exp()[decided], output.confidences[decided], atol=1e-5, rtol=1e-4)


def test_a_trajectory_has_the_probabilities_that_the_answer_was_sampled_with(sampled):
    """As `generate` reports them at temperature 0: here of answers that were sampled greedily, token by token."""
    model, processor, rollouts = sampled
    question = rollouts.answers[4].question
    item = {"image": Image.new("RGB", (96, 96)), "image_id": "0", "question": question}
    rollouts = sample_rollouts(model, processor, [item])
    inputs = processor(images=item["image"], text=question.query, task=question.task, return_tensors="pt")
    inputs = inputs.to(model.device)
    output = model.generate(**inputs, max_new_tokens=8, return_dict_in_generate=True)
    assert int(output.commit_steps.max()) > 2
    hidden = hidden_tokens(model, rollouts, "trajectory", prompt_masking=0.0)
    with torch.no_grad():
        found = token_log_probabilities(model, rollouts, hidden, mask_token_id=model.config.mask_token_id)
    decided = rollouts.decided
    torch.testing.assert_close(found.exp()[decided], output.confidences[decided], atol=1e-5, rtol=1e-4)


def test_coupled_passes_hide_every_token_once_and_never_the_image(sampled):
    model, _, rollouts = sampled
    hidden = hidden_tokens(model, rollouts, "coupled", prompt_masking=0.9)
    first, second = hidden.canvas
    assert not (first & second).any()
    assert torch.equal(first | second, rollouts.canvas_mask)
    assert first.any()
    assert second.any()
    assert not (hidden.prompt & (rollouts.prompt_ids == model.config.image_token_id)).any()
    assert not (hidden.prompt & ~rollouts.prompt_mask).any()
    assert hidden.prompt.any()


def test_an_answer_ends_with_its_first_eos(sampled):
    _, processor, rollouts = sampled
    eos = processor.tokenizer.eos_token_id
    for canvas, mask, decided in zip(rollouts.canvas_ids, rollouts.canvas_mask, rollouts.decided, strict=True):
        ids = canvas[mask].tolist()
        length = ids.index(eos) + 1 if eos in ids else len(ids)
        assert decided.tolist() == [index < length for index in range(len(canvas))]


def test_another_estimator_is_refused(sampled):
    model, _, rollouts = sampled
    with pytest.raises(ValueError, match="one of one_step, coupled, trajectory"):
        hidden_tokens(model, rollouts, "elbo")


def test_an_item_with_several_questions_is_refused(model_and_processor, items):
    with pytest.raises(ValueError, match="set questions_per_row=1"):
        sample_rollouts(*model_and_processor, [{"image": items[0]["image"], "questions": []}])

# SPDX-License-Identifier: Apache-2.0
"""The alternatives of a token are the most probable tokens of its position, by the step that committed it."""

import pytest
import torch

from on_device import OnDevice
from tiny_models import build_config, build_network

V, MASK, IMAGE, EOS, PAD = 64, 60, 61, 62, 63
L, A = 10, 4


@pytest.fixture(scope="module", params=["full", "prefix"])
def model(request):
    config = build_config(
        text={"intermediate_size": 64, "num_attention_heads": 4},
        vision={"intermediate_size": 32},
        mask_token_id=MASK,
        image_token_id=IMAGE,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=PAD,
        attention_mode=request.param,
    )
    return OnDevice(build_network(config, weight_scale=0.3))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(0, 50, (3, 5), generator=generator)
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return {"input_ids": torch.cat([torch.full((3, 4), IMAGE), words], dim=1), "pixel_values": images}


def watch(model, batch, **options):
    """The alternatives after each step, and the output."""
    seen = []

    def look(state):
        found = state.alternatives
        seen.append(None if found is None else (found.tokens.cpu().clone(), found.probabilities.cpu().clone()))

    options = {"max_new_tokens": L, "max_denoising_steps": 5, "return_dict_in_generate": True, **options}
    return seen, model.generate(**batch, step_callback=look, **options)


@pytest.mark.parametrize("options", [{}, {"confidence_threshold": 0.2}, {"block_length": 5}, {"guidance_scale": 1.5}])
def test_the_first_is_the_token_that_a_greedy_step_commits(model, batch, options):
    seen, output = watch(model, batch, num_alternatives=A, **options)
    tokens, probabilities = seen[-1]
    committed = output.commit_steps >= 0
    canvas = output.sequences[:, -L:]
    assert torch.equal(tokens[..., 0][committed], canvas[committed])
    torch.testing.assert_close(probabilities[..., 0][committed], output.confidences[committed], rtol=1e-4, atol=1e-6)
    assert (probabilities.diff(dim=-1) <= 0).all()
    assert (probabilities.sum(-1) <= 1 + 1e-5).all()


def test_they_stay_once_a_token_is_committed(model, batch):
    seen, output = watch(model, batch, num_alternatives=A)
    for step, (tokens, _) in enumerate(seen):
        known = (output.commit_steps >= 0) & (output.commit_steps <= step)
        assert torch.equal(tokens[known], seen[-1][0][known])


def test_a_row_has_those_that_it_has_alone(model, batch):
    seen, _ = watch(model, batch, num_alternatives=A)
    for row in range(3):
        alone, _ = watch(model, {name: value[row : row + 1] for name, value in batch.items()}, num_alternatives=A)
        torch.testing.assert_close(seen[-1][1][row], alone[-1][1][0], rtol=1e-4, atol=1e-6)


def test_what_is_never_proposed_is_not_among_them(model, batch):
    seen, _ = watch(model, batch, num_alternatives=V)
    tokens, _ = seen[-1]
    assert tokens.shape[-1] == V - 2
    asked = seen[0][1][..., 0] > 0
    assert not torch.isin(seen[0][0][asked], torch.tensor([MASK, IMAGE])).any()


def test_without_them_nothing_is_kept(model, batch):
    seen, output = watch(model, batch)
    assert set(seen) == {None}
    _, with_them = watch(model, batch, num_alternatives=A)
    assert torch.equal(output.sequences, with_them.sequences)


def test_generate_many_takes_the_callback_too(model, batch):
    steps = []
    answers = list(
        model.generate_many(
            [batch],
            max_new_tokens=L,
            max_denoising_steps=5,
            step_callback=lambda state: steps.append(state.alternatives.tokens.shape),
            num_alternatives=A,
        )
    )
    _, output = watch(model, batch)
    assert set(steps) == {(3, L, A)}
    for answer in answers:
        assert torch.equal(answer.canvas.cpu(), output.sequences[answer.index, -L:])


def test_fewer_than_none(model, batch):
    with pytest.raises(ValueError, match="num_alternatives must be 0 or more, but is -1"):
        watch(model, batch, num_alternatives=-1)

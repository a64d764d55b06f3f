# SPDX-License-Identifier: Apache-2.0
"""What is saved in decoding changes nothing: every way to the same logits gives the same tokens.

The reference is `use_cache=False`, where the network runs on image, prompt and canvas in every step. Models are in
double precision, so that no choice hangs on the order in which numbers are added up.
"""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from defined_environment import DEVICE
from geodit.modeling_geodit.loop_choice_geodit import make_predictor
from geodit.modeling_geodit.predictors_geodit import (
    EmbeddedPrompt,
    FullPredictor,
    PrefixCachedPredictor,
    RefreshedPredictor,
)
from geodit.modeling_geodit.prompts_geodit import embed_prompts
from on_device import OnDevice, moved
from tiny_models import build_config, build_network

V, MASK, IMAGE, EOS, PAD = 64, 60, 61, 62, 63
NUM_IMAGE_TOKENS = 4


def build_model(attention_mode, *, eos_bias=0.0, num_key_value_heads=2, layers=3):
    config = build_config(
        text={"num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": num_key_value_heads},
        vision={"intermediate_size": 16},
        mask_token_id=MASK,
        image_token_id=IMAGE,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=PAD,
        attention_mode=attention_mode,
    )
    model = build_network(config, weight_scale=0.3, dtype=torch.float64)
    if eos_bias:
        # A direction that all hidden states share a little makes EOS likelier everywhere.
        model.model.language_model.norm.weight.data[0] = 3.0
        model.lm_head.weight.data[EOS, 0] += eos_bias
    return OnDevice(model)


MODELS = {(mode, kv): build_model(mode, num_key_value_heads=kv) for mode in ("full", "prefix") for kv in (1, 4)}
ENDING = {mode: build_model(mode, eos_bias=2.5) for mode in ("full", "prefix")}


@st.composite
def batches(draw, max_rows=3):
    """Prompts of several lengths, with or without an image, padded on either side."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rows = draw(st.integers(1, max_rows))
    has_image = [draw(st.booleans()) for _ in range(rows)]
    prompts = []
    for row in range(rows):
        words = torch.randint(0, 50, (draw(st.integers(1, 7)),), generator=generator)
        where = draw(st.integers(0, len(words))) if draw(st.booleans()) else 0
        image = torch.full((NUM_IMAGE_TOKENS if has_image[row] else 0,), IMAGE)
        prompts.append(torch.cat([words[:where], image, words[where:]]))
    length = max(map(len, prompts)) + draw(st.integers(0, 2))
    input_ids, attention_mask = torch.full((rows, length), PAD), torch.zeros(rows, length, dtype=torch.long)
    left = draw(st.booleans())
    for row, prompt in enumerate(prompts):
        place = slice(length - len(prompt), None) if left else slice(0, len(prompt))
        input_ids[row, place], attention_mask[row, place] = prompt, 1
    batch = {"input_ids": input_ids, "attention_mask": attention_mask}
    if any(has_image):
        batch["pixel_values"] = torch.randn(sum(has_image), 3, 8, 8, generator=generator)
    return batch


@st.composite
def decodings(draw):
    """Lengths, steps, blocks, remasking, guidance."""
    length = draw(st.integers(1, 10))
    options = {"max_new_tokens": length, "max_denoising_steps": draw(st.integers(1, 12)), "seed": 0}
    block_length = draw(st.none() | st.integers(1, length))
    if block_length is not None and -(-length // block_length) <= options["max_denoising_steps"]:
        options["block_length"] = block_length
    options["remasking"] = draw(st.sampled_from(["low_confidence", "random"]))
    options["temperature"] = draw(st.sampled_from([0.0, 0.7]))
    options["guidance_scale"] = draw(st.sampled_from([1.0, 1.5]))
    return options


few = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class TestPrefixCache:
    @few
    @given(batches(), decodings(), st.sampled_from([1, 4]))
    def test_it_changes_no_token(self, batch, options, kv):
        model = MODELS["prefix", kv]
        expected = model.generate(**batch, **options, use_cache=False, return_dict_in_generate=True)
        cached = model.generate(**batch, **options, return_dict_in_generate=True)
        assert torch.equal(cached.sequences, expected.sequences)
        assert torch.equal(cached.commit_steps, expected.commit_steps)
        torch.testing.assert_close(cached.confidences, expected.confidences)

    @few
    @given(batches(), decodings())
    def test_every_row_is_answered_as_if_it_were_alone(self, batch, options):
        model = ENDING["prefix"]
        rows = len(batch["input_ids"])
        generators = [torch.Generator().manual_seed(row) for row in range(rows)]
        del options["seed"]
        together = model.generate(**batch, **options, generator=generators)
        images = iter(batch.get("pixel_values", ()))
        for row in range(rows):
            alone = {name: batch[name][row : row + 1] for name in ("input_ids", "attention_mask")}
            if (alone["input_ids"] == IMAGE).any():
                alone["pixel_values"] = next(images)[None]
            sequence = model.generate(**alone, **options, generator=torch.Generator().manual_seed(row))
            assert torch.equal(sequence[0], together[row])

    def test_the_network_runs_on_image_and_prompt_once(self):
        model = MODELS["prefix", 4]
        lengths = []
        layer = model.model.language_model.layers[0]
        handle = layer.register_forward_pre_hook(lambda module, args: lengths.append(args[0].shape[1]))
        prompt = torch.tensor([[IMAGE] * 4 + [1, 2, 3]])
        options = {"max_new_tokens": 6, "max_denoising_steps": 3, "eos_token_id": []}  # no answer ends early
        model.generate(prompt, torch.randn(1, 3, 8, 8).double(), **options)
        handle.remove()
        assert lengths == [4, 3, 6, 6, 6]


class TestRefreshing:
    @few
    @given(batches(), st.integers(1, 8))
    def test_in_every_step_it_is_exact(self, batch, canvas_length):
        """Also after rows have left."""
        model = MODELS["full", 4]
        valid = batch["attention_mask"].bool()
        embeds = OnDevice(model.get_input_embeddings())(batch["input_ids"])
        prompt = moved(EmbeddedPrompt(embeds, valid, torch.zeros_like(valid)), DEVICE)
        predictors = [
            OnDevice(FullPredictor(model.wrapped, prompt)),
            OnDevice(RefreshedPredictor(model.wrapped, prompt, canvas_length, 1)),
        ]
        canvas = torch.full((len(valid), canvas_length), MASK)
        for rows in (list(range(len(valid))), [len(valid) - 1]):
            everywhere = torch.ones_like(canvas, dtype=torch.bool)
            with torch.no_grad():
                logits = [p(canvas, everywhere, everywhere, begins_block=False) for p in predictors]
            torch.testing.assert_close(*logits)
            for predictor in predictors:
                predictor.keep_rows(rows)
            canvas = canvas[rows]
            canvas[:, 0] = 7

    def test_more_seldom_it_saves_work_and_may_differ(self):
        model = MODELS["full", 4]
        lengths = []
        layer = model.model.language_model.layers[0]
        handle = layer.register_forward_pre_hook(lambda module, args: lengths.append(args[0].shape[1]))
        prompt = torch.tensor([[1, 2, 3, 4, 5]])
        options = {"max_new_tokens": 8, "max_denoising_steps": 8, "block_length": 4}
        model.generate(prompt, **options, prefix_refresh_steps=3)
        handle.remove()
        # Blocks of four steps: anew in the first and in the fourth.
        assert lengths == [13, 8, 8, 13] * 2


class TestManyQuestions:
    @pytest.fixture(params=["full", "prefix"])
    def model(self, request):
        return MODELS[request.param, 4]

    @pytest.fixture
    def questions(self):
        image = [IMAGE] * NUM_IMAGE_TOKENS
        input_ids = torch.tensor([[PAD, PAD, *image, 5, 6], [*image, 7, 8, 9, 10], [PAD, *image, 1, 2, 3]])
        return {"input_ids": input_ids, "attention_mask": (input_ids != PAD).long()}

    def test_of_one_image_are_answered_as_with_the_image_itself(self, model, questions):
        pixels = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
        options = {"max_new_tokens": 8, "max_denoising_steps": 4}
        expected = model.generate(**questions, pixel_values=pixels.expand(3, -1, -1, -1), **options)
        prefix = model.encode_image(pixels)
        assert torch.equal(model.generate(**questions, image_prefix=prefix, **options), expected)
        # The prefix is not used up.
        one = {name: tensor[1:2] for name, tensor in questions.items()}
        assert torch.equal(model.generate(**one, image_prefix=prefix, **options), expected[1:2])

    def test_of_an_image_each(self, model, questions):
        pixels = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double()
        options = {"max_new_tokens": 8, "max_denoising_steps": 4, "guidance_scale": 1.5}
        expected = model.generate(**questions, pixel_values=pixels, **options)
        assert torch.equal(model.generate(**questions, image_prefix=model.encode_image(pixels), **options), expected)

    def test_prompts_that_do_not_begin_with_the_image_are_refused(self, model, questions):
        prefix = model.encode_image(torch.randn(1, 3, 8, 8).double())
        questions["input_ids"][1] = torch.tensor([7, *[IMAGE] * NUM_IMAGE_TOKENS, 8, 9, 10])
        with pytest.raises(ValueError, match="begins with the placeholders"):
            model.generate(**questions, image_prefix=prefix)

    def test_the_number_of_images_must_fit(self, model, questions):
        prefix = model.encode_image(torch.randn(2, 3, 8, 8).double())
        with pytest.raises(ValueError, match="2 images for 3 prompts"):
            model.generate(**questions, image_prefix=prefix)


class TestEnds:
    @pytest.mark.parametrize("mode", ["full", "prefix"])
    def test_nothing_is_denoised_behind_the_first_eos(self, mode):
        prompts = torch.randint(0, 50, (16, 5), generator=torch.Generator().manual_seed(0))
        options = {"max_new_tokens": 12, "max_denoising_steps": 12, "return_dict_in_generate": True}
        options |= {"fill_after_eos": False}
        output = ENDING[mode].generate(prompts, **options)
        through = ENDING[mode].generate(prompts, **options, eos_token_id=[])
        ended = 0
        for row, steps, other in zip(
            output.sequences[:, 5:], output.commit_steps, through.sequences[:, 5:], strict=True
        ):
            if (steps < 0).any():
                ended += 1
                first = int((row == EOS).nonzero()[0])
                assert (steps[: first + 1] >= 0).all()
                assert (row[steps < 0] == EOS).all()
                # Up to its end it is the answer of a run that goes on to the last token.
                assert torch.equal(row[: first + 1], other[: first + 1])
            else:
                assert torch.equal(row, other)
        assert ended > 0
        assert output.num_predictions <= through.num_predictions

    @pytest.mark.parametrize("mode", ["full", "prefix"])
    def test_all_behind_an_eos_is_eos_whatever_the_batch_and_the_cache(self, mode):
        prompts = torch.randint(0, 50, (16, 5), generator=torch.Generator().manual_seed(0))
        options = {"max_new_tokens": 12, "max_denoising_steps": 6, "return_dict_in_generate": True}
        output = ENDING[mode].generate(prompts, **options, use_cache=False)
        for canvas in output.canvases:
            behind = ((canvas == EOS).long().cumsum(-1) - (canvas == EOS).long()) > 0
            assert (canvas[behind] == EOS).all()
        cached = ENDING[mode].generate(prompts, **options)
        assert torch.equal(output.sequences, cached.sequences)
        assert torch.equal(output.commit_steps, cached.commit_steps)
        for row in (0, 7, 15):
            alone = ENDING[mode].generate(prompts[row : row + 1], **options)
            assert torch.equal(alone.sequences[0], output.sequences[row])

    def test_rows_that_are_finished_leave_the_computation(self):
        model = ENDING["prefix"]
        rows = []
        layer = model.model.language_model.layers[0]
        handle = layer.register_forward_pre_hook(lambda module, args: rows.append(args[0].shape[0]))
        prompts = torch.randint(0, 50, (16, 5), generator=torch.Generator().manual_seed(0))
        model.generate(prompts, max_new_tokens=12, max_denoising_steps=12)
        handle.remove()
        assert rows == sorted(rows, reverse=True)
        assert rows[-1] < 16


class TestLengths:
    @pytest.mark.parametrize("mode", ["full", "prefix"])
    def test_canvases_of_several_lengths_stand_in_one_batch(self, mode):
        model = MODELS[mode, 4]
        prompts = torch.randint(0, 50, (3, 5), generator=torch.Generator().manual_seed(0))
        lengths = [3, 8, 5]
        together = model.generate(prompts, max_new_tokens=8, max_denoising_steps=4, canvas_lengths=lengths)
        for row, length in enumerate(lengths):
            alone = model.generate(prompts[row : row + 1], max_new_tokens=length, max_denoising_steps=4)
            assert torch.equal(together[row, : 5 + length], alone[0])
            assert (together[row, 5 + length :] == EOS).all()

    @pytest.mark.parametrize("lengths", [[3, 8], [3, 8, 9], [0, 1, 2], [1.0, 2.0, 3.0]])
    def test_lengths_that_do_not_fit_are_refused(self, lengths):
        prompts = torch.ones(3, 2, dtype=torch.long)
        with pytest.raises(ValueError, match="canvas_lengths must be"):
            MODELS["full", 4].generate(prompts, max_new_tokens=8, canvas_lengths=lengths)

    @pytest.mark.parametrize("mode", ["full", "prefix"])
    def test_a_growing_canvas_stops_where_an_answer_ends(self, mode):
        model = ENDING[mode]
        prompts = torch.randint(0, 50, (16, 5), generator=torch.Generator().manual_seed(0))
        seen = []
        layer = model.model.language_model.layers[0]
        handle = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
        options = {"max_new_tokens": 12, "max_denoising_steps": 12, "use_cache": True}
        grown = model.generate(prompts, **options, initial_canvas_length=4, block_length=4)
        handle.remove()
        canvases = [length - (5 if mode == "full" else 0) for length in seen if mode == "full" or length != 5]
        assert set(canvases) == {4, 8, 12}
        assert canvases == sorted(canvases)
        # The first part does not know that there could be more.
        short = model.generate(prompts, max_new_tokens=4, max_denoising_steps=4)
        for row, first in zip(grown[:, 5:], short[:, 5:], strict=True):
            assert torch.equal(row[:4], first)


class TestWatching:
    def test_a_callback_sees_the_canvas_after_every_step(self):
        seen = []
        prompt = torch.tensor([[1, 2, 3]])
        output = MODELS["prefix", 4].generate(
            prompt,
            max_new_tokens=6,
            max_denoising_steps=3,
            step_callback=lambda state: seen.append((state.step, state.canvas.cpu().clone())),
            return_dict_in_generate=True,
        )
        assert [step for step, _ in seen] == [1, 2, 3]
        assert all(torch.equal(canvas, output.canvases[step - 1]) for step, canvas in seen)

    def test_a_streamer_is_given_prompt_drafts_answer_and_end(self):
        calls = []

        class Streamer:
            def put(self, value):
                calls.append(("put", value.tolist()))

            def put_draft(self, value):
                calls.append(("draft", int((value == MASK).sum())))

            def end(self):
                calls.append(("end", None))

        prompt = torch.tensor([[1, 2, 3]])
        sequences = MODELS["prefix", 4].generate(prompt, max_new_tokens=6, max_denoising_steps=3, streamer=Streamer())
        canvas = sequences[:, 3:].tolist()
        assert calls == [
            ("put", [[1, 2, 3]]),
            ("draft", 4),
            ("draft", 2),
            ("draft", 0),
            ("put", canvas),
            ("end", None),
        ]


class TestCompiled:
    @pytest.mark.parametrize(("mode", "use_cache"), [("full", True), ("prefix", False)])
    def test_it_needs_a_cached_prefix(self, mode, use_cache):
        with pytest.raises(ValueError, match="compile_step=True needs attention_mode"):
            MODELS[mode, 4].generate(torch.tensor([[1]]), compile_step=True, use_cache=use_cache)


def test_the_predictor_follows_the_configuration():
    prompt, device = torch.tensor([[1, 2, 3]]), torch.device(DEVICE)
    mask = torch.ones_like(prompt, dtype=torch.bool)
    for mode, options, expected in [
        ("full", {}, FullPredictor),
        ("full", {"prefix_refresh_steps": 2}, RefreshedPredictor),
        ("prefix", {}, PrefixCachedPredictor),
        ("prefix", {"use_cache": False}, FullPredictor),
    ]:
        model = MODELS[mode, 4]
        config = type(model.generation_config).from_generation_config(model.generation_config, **options)
        branches = embed_prompts(model, config, prompt, mask, None, None, MASK, device)
        assert type(make_predictor(model, config, branches)) is expected

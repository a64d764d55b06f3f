# SPDX-License-Identifier: Apache-2.0
"""generate(): what comes back, what it depends on, and what it is independent of.

B batch, P prompt length, L canvas length, N denoising steps, n image tokens, V vocabulary.
"""

import json

import pytest
import torch
from transformers import GenerationConfig

from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.modeling_geodit.generation_geodit import GeoDiTGenerateOutput
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from on_device import OnDevice
from tiny_models import build_config, build_network

V, MASK, IMAGE, EOS, PAD = 64, 60, 61, 62, 63
NUM_IMAGE_TOKENS = 4


def build_model(attention_mode="full"):
    config = build_config(
        text={"num_attention_heads": 4},
        mask_token_id=MASK,
        image_token_id=IMAGE,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=PAD,
        attention_mode=attention_mode,
    )
    return OnDevice(build_network(config, weight_scale=0.3))


@pytest.fixture(scope="module", params=["full", "prefix"])
def model(request):
    return build_model(request.param)


@pytest.fixture
def own_model():
    """A model that a test may change."""
    return build_model()


def make_prompts(*lengths, seed=0):
    """One prompt of random words a length, each behind the placeholders of its image."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.full((NUM_IMAGE_TOKENS,), IMAGE)
    return [torch.cat([image, torch.randint(0, 50, (length,), generator=generator)]) for length in lengths]


def make_batch(prompts, side="left", extra=0):
    """Pad prompts to a common length, and `extra` tokens more."""
    length = max(len(prompt) for prompt in prompts) + extra
    input_ids = torch.full((len(prompts), length), PAD)
    attention_mask = torch.zeros_like(input_ids)
    for row, prompt in enumerate(prompts):
        place = slice(length - len(prompt), None) if side == "left" else slice(0, len(prompt))
        input_ids[row, place] = prompt
        attention_mask[row, place] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def make_images(count, seed=0):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def batch():
    """Three prompts of different length with an image each, padded on the left."""
    return {**make_batch(make_prompts(3, 6, 5)), "pixel_values": make_images(3)}


def canvas_of(sequences, batch):
    return sequences[:, batch["input_ids"].shape[1] :]


class TestWhatIsReturned:
    def test_the_prompt_followed_by_a_canvas_without_masks(self, model, batch):
        sequences = model.generate(**batch, max_new_tokens=12, max_denoising_steps=4)
        assert sequences.dtype == torch.int64
        assert sequences.shape == (3, batch["input_ids"].shape[1] + 12)
        assert torch.equal(sequences[:, :-12], batch["input_ids"])
        assert not torch.isin(sequences[:, -12:], torch.tensor([MASK, IMAGE])).any()

    def test_text_alone_needs_no_image(self, model):
        sequences = model.generate(torch.tensor([[3, 4, 5]]), max_new_tokens=6, max_denoising_steps=2)
        assert sequences.shape == (1, 9)

    def test_an_empty_prompt_is_answered_too(self, model):
        empty = torch.zeros(1, 0, dtype=torch.long)
        assert model.generate(empty, max_new_tokens=6, max_denoising_steps=2).shape == (1, 6)

    def test_masks_in_the_prompt_stay_as_they_are(self, model):
        prompt = torch.tensor([[3, MASK, 5]])
        sequences = model.generate(prompt, max_new_tokens=6, max_denoising_steps=2)
        assert torch.equal(sequences[:, :3], prompt)

    def test_no_gradient_is_recorded_and_the_input_is_left_alone(self, model, batch):
        before = batch["input_ids"].clone()
        output = model.generate(**batch, max_new_tokens=4, return_dict_in_generate=True)
        assert not output.confidences.requires_grad
        assert torch.equal(batch["input_ids"], before)

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"block_length": 5},
            {"remasking": "random", "seed": 0},
            {"temperature": 1.0, "seed": 0, "guidance_scale": 2.0},
        ],
        ids=str,
    )
    def test_steps_confidences_and_canvases_tell_one_story(self, model, batch, options):
        N, L = 5, 12
        output = model.generate(
            **batch, max_new_tokens=L, max_denoising_steps=N, return_dict_in_generate=True, **options
        )
        assert isinstance(output, GeoDiTGenerateOutput)
        assert output.commit_steps.shape == output.confidences.shape == (3, L)
        assert output.canvases.shape == (N, 3, L)
        final = canvas_of(output.sequences, batch)
        for step in range(N):
            committed = output.commit_steps <= step
            assert torch.equal(output.canvases[step], torch.where(committed, final, MASK))
        assert output.commit_steps.min() == 0
        assert ((output.confidences > 0) & (output.confidences <= 1)).all()
        assert output.num_predictions == N

    def test_the_plain_result_is_the_sequences_of_the_full_one(self, model, batch):
        plain = model.generate(**batch, max_new_tokens=8)
        full = model.generate(**batch, max_new_tokens=8, return_dict_in_generate=True)
        assert torch.equal(plain, full.sequences)


class TestDenoising:
    def test_one_step_commits_the_most_probable_token_everywhere(self, model, batch):
        L = 8
        output = model.generate(**batch, max_new_tokens=L, max_denoising_steps=1, return_dict_in_generate=True)
        probability, tokens = self.predict(model, batch, torch.full((3, L), MASK)).softmax(-1).max(-1)
        assert torch.equal(canvas_of(output.sequences, batch), tokens)
        torch.testing.assert_close(output.confidences, probability)

    def test_every_step_commits_the_surest_tokens_given_the_canvas_before_it(self, model, batch):
        L, N = 9, 4
        output = model.generate(**batch, max_new_tokens=L, max_denoising_steps=N, return_dict_in_generate=True)
        canvas = torch.full((3, L), MASK)
        for step, num_transfer in enumerate([3, 2, 2, 2]):
            probability, tokens = self.predict(model, batch, canvas).softmax(-1).max(-1)
            surest = probability.masked_fill(canvas != MASK, -1).topk(num_transfer).indices
            canvas = canvas.scatter(1, surest, tokens.gather(1, surest))
            assert torch.equal(output.canvases[step], canvas)
            torch.testing.assert_close(output.confidences.gather(1, surest), probability.gather(1, surest))

    def test_each_step_commits_what_the_schedule_says(self, model, batch):
        output = model.generate(**batch, max_new_tokens=11, max_denoising_steps=4, return_dict_in_generate=True)
        for row in output.commit_steps:
            assert row.bincount(minlength=4).tolist() == [3, 3, 3, 2]

    def test_steps_beyond_the_number_of_tokens_change_nothing_and_cost_nothing(self, model, batch):
        enough = model.generate(**batch, max_new_tokens=4, max_denoising_steps=4)
        output = model.generate(**batch, max_new_tokens=4, max_denoising_steps=9, return_dict_in_generate=True)
        assert torch.equal(output.sequences, enough)
        assert len(output.canvases) == output.num_predictions == 4

    def test_blocks_are_denoised_one_after_the_other(self, model, batch):
        output = model.generate(
            **batch,
            max_new_tokens=10,
            block_length=4,
            max_denoising_steps=7,
            return_dict_in_generate=True,
        )
        # 7 steps over blocks of 4, 4 and 2 tokens: 3, 2 and 2 of them.
        for row in output.commit_steps:
            assert row[:4].bincount(minlength=7).tolist() == [2, 1, 1, 0, 0, 0, 0]
            assert row[4:8].bincount(minlength=7).tolist() == [0, 0, 0, 2, 2, 0, 0]
            assert row[8:].bincount(minlength=7).tolist() == [0, 0, 0, 0, 0, 1, 1]

    def test_a_block_as_long_as_the_canvas_is_no_block(self, model, batch):
        whole = model.generate(**batch, max_new_tokens=8)
        assert torch.equal(model.generate(**batch, max_new_tokens=8, block_length=8), whole)

    def test_the_mask_and_the_image_placeholder_are_never_committed(self, own_model, batch):
        for token in (MASK, IMAGE):
            own_model.lm_head.weight.data[token] = 5 * own_model.lm_head.weight.data[:50].sum(0)
        greedy = self.predict(own_model, batch, torch.full((3, 16), MASK)).argmax(-1)
        assert torch.isin(greedy, torch.tensor([MASK, IMAGE])).any(), "the network itself wants them"
        for temperature in (0.0, 1.0):
            sequences = own_model.generate(**batch, max_new_tokens=16, temperature=temperature, seed=0)
            assert not torch.isin(sequences[:, -16:], torch.tensor([MASK, IMAGE])).any()

    def test_further_tokens_can_be_suppressed(self, model, batch):
        favourites = model.generate(**batch, max_new_tokens=8)[:, -8:].unique()
        sequences = model.generate(**batch, max_new_tokens=8, suppress_tokens=favourites.tolist())
        assert not torch.isin(sequences[:, -8:], favourites).any()

    @staticmethod
    @torch.no_grad()
    def predict(model, batch, canvas):
        ones = torch.ones_like(canvas)
        return model(
            input_ids=torch.cat([batch["input_ids"], canvas], dim=1),
            attention_mask=torch.cat([batch["attention_mask"], ones], dim=1),
            canvas_mask=torch.cat([0 * batch["input_ids"], ones], dim=1).bool(),
            pixel_values=batch["pixel_values"],
            logits_to_keep=canvas.shape[1],
        ).logits


class TestIndependence:
    @pytest.mark.parametrize(
        "options", [{}, {"guidance_scale": 2.0}, {"block_length": 4}, {"remasking": "random"}], ids=str
    )
    def test_a_row_is_answered_as_if_it_were_alone(self, model, options):
        prompts, images = make_prompts(2, 7, 4), make_images(3)

        def answer(rows):
            return model.generate(
                **make_batch([prompts[row] for row in rows]),
                pixel_values=images[rows],
                generator=[torch.Generator().manual_seed(row) for row in rows],
                max_new_tokens=8,
                **options,
            )[:, -8:]

        together = answer([0, 1, 2])
        for row in range(3):
            assert torch.equal(answer([row])[0], together[row])

    @pytest.mark.parametrize("guidance_scale", [1.0, 2.5])
    def test_padding_changes_nothing_on_either_side(self, model, guidance_scale):
        prompts, images = make_prompts(2, 6), make_images(2)
        answers = [
            model.generate(
                **make_batch(prompts, side=side, extra=extra),
                pixel_values=images,
                max_new_tokens=8,
                guidance_scale=guidance_scale,
            )[:, -8:]
            for side, extra in (("left", 0), ("right", 0), ("left", 3), ("right", 5))
        ]
        for answer in answers[1:]:
            assert torch.equal(answer, answers[0])

    def test_without_attention_mask_every_token_is_real(self, model, batch):
        del batch["attention_mask"]
        batch["input_ids"] = batch["input_ids"][1:2]
        batch["pixel_values"] = batch["pixel_values"][1:2]
        explicit = {**batch, "attention_mask": torch.ones_like(batch["input_ids"])}
        assert torch.equal(model.generate(**batch, max_new_tokens=4), model.generate(**explicit, max_new_tokens=4))


class TestRandomness:
    @pytest.mark.parametrize("options", [{"temperature": 1.5}, {"remasking": "random"}], ids=str)
    def test_a_seed_fixes_the_answer(self, model, batch, options):
        def answer(seed):
            return model.generate(**batch, max_new_tokens=16, seed=seed, return_dict_in_generate=True, **options)

        first, again, other = answer(1), answer(1), answer(2)
        assert torch.equal(first.sequences, again.sequences)
        assert torch.equal(first.commit_steps, again.commit_steps)
        assert not torch.equal(first.commit_steps, other.commit_steps)

    def test_a_seeded_row_does_not_depend_on_the_rows_after_it(self, model, batch):
        options = {"max_new_tokens": 8, "temperature": 1.0, "seed": 5}
        first = {name: tensor[:2] for name, tensor in batch.items()}
        assert torch.equal(model.generate(**first, **options), model.generate(**batch, **options)[:2])

    def test_equal_rows_are_sampled_differently(self, model):
        prompts = make_batch(make_prompts(4) * 2)
        images = make_images(1).repeat(2, 1, 1, 1)
        answer = model.generate(**prompts, pixel_values=images, max_new_tokens=16, temperature=2.0, seed=0)
        assert not torch.equal(answer[0], answer[1])

    def test_without_a_seed_the_global_generator_is_used(self, model, batch):
        torch.manual_seed(3)
        first = model.generate(**batch, max_new_tokens=8, temperature=1.0)
        second = model.generate(**batch, max_new_tokens=8, temperature=1.0)
        torch.manual_seed(3)
        assert torch.equal(model.generate(**batch, max_new_tokens=8, temperature=1.0), first)
        assert not torch.equal(second, first)

    def test_greedy_decoding_draws_nothing(self, model, batch):
        state = torch.get_rng_state()
        model.generate(**batch, max_new_tokens=8)
        assert torch.equal(torch.get_rng_state(), state)

    def test_a_low_temperature_is_nearly_greedy(self, model, batch):
        greedy = model.generate(**batch, max_new_tokens=8)
        assert torch.equal(model.generate(**batch, max_new_tokens=8, temperature=1e-6, seed=0), greedy)


class TestGuidance:
    @torch.no_grad()
    def test_logits_move_away_from_those_without_prompt_and_image(self, model, batch):
        L, scale = 6, 2.5
        output = model.generate(
            **batch,
            max_new_tokens=L,
            max_denoising_steps=1,
            guidance_scale=scale,
            return_dict_in_generate=True,
        )
        canvas = torch.full((3, L), MASK)
        conditional = TestDenoising.predict(model, batch, canvas)
        no_prompt = {**batch, "input_ids": torch.full_like(batch["input_ids"], MASK), "pixel_values": None}
        unconditional = TestDenoising.predict(model, no_prompt, canvas)
        guided = unconditional + scale * (conditional - unconditional)
        probability, tokens = guided.softmax(-1).max(-1)
        assert torch.equal(canvas_of(output.sequences, batch), tokens)
        torch.testing.assert_close(output.confidences, probability)
        assert not torch.equal(tokens, conditional.argmax(-1))

    def test_only_a_scale_above_one_costs_a_second_branch(self, model, batch):
        def count_runs(scale):
            runs = []
            hook = model.model.language_model.register_forward_hook(lambda *args: runs.append(1))
            model.generate(**batch, max_new_tokens=4, max_denoising_steps=4, guidance_scale=scale, use_cache=False)
            hook.remove()
            return len(runs)

        assert (count_runs(1.0), count_runs(1.5)) == (4, 8)


class TestCost:
    def test_images_are_encoded_once(self, model, batch):
        calls = []
        hook = model.model.vision_tower.register_forward_hook(lambda *args: calls.append(1))
        model.generate(**batch, max_new_tokens=8, max_denoising_steps=8)
        hook.remove()
        assert len(calls) == 1

    def test_encoded_images_serve_several_questions(self, model, batch):
        pixel_values = batch.pop("pixel_values")
        with torch.no_grad():
            features = model.get_image_features(pixel_values)
        assert torch.equal(
            model.generate(**batch, image_features=features, max_new_tokens=8),
            model.generate(**batch, pixel_values=pixel_values, max_new_tokens=8),
        )

    def test_the_vocabulary_projection_covers_the_masked_positions_of_the_active_block_alone(self, model, batch):
        positions = []
        hook = model.lm_head.register_forward_pre_hook(
            lambda module, args: positions.append(args[0].shape[:-1].numel())
        )
        model.generate(**batch, max_new_tokens=10, block_length=4, max_denoising_steps=6)
        hook.remove()
        # Blocks of 4, 4 and 2 tokens, two steps each.
        assert positions == [3 * 4, 3 * 2, 3 * 4, 3 * 2, 3 * 2, 3 * 1]


class TestBadInput:
    @pytest.mark.parametrize(
        ("changes", "complaint"),
        [
            ({"max_denoising_step": 4}, "Did you mean max_denoising_steps"),
            ({"num_beams": 4}, r"num_beams \(4\) is for decoding from left to right.*max_denoising_steps"),
            ({"top_p": 0.9}, r"top_p \(0.9\) .* Instead, temperature"),
            ({"assistant_model": torch.nn.Linear(1, 1)}, r"assistant_model \(Linear\) .* Leave it out"),
            ({"inputs_embeds": torch.zeros(3, 10, 32)}, r"inputs_embeds \(Tensor\) .*give input_ids"),
            ({"logits_processor": [len]}, r"logits_processor \(list\) .*suppress_tokens"),
            ({"stopping_criteria": [len]}, r"stopping_criteria \(list\) .*stop_strings"),
            ({"do_sample": False, "temperature": 0.5}, "do_sample=False and temperature=0.5 contradict"),
            ({"do_sample": True, "temperature": 0.0}, "do_sample=True and temperature=0.0 contradict"),
            ({"do_sample": 1}, "do_sample must be True or False"),
            ({"max_length": 10}, "an integer above its 10 tokens, but is 10"),
            ({"max_length": 20, "max_new_tokens": 8}, "not both"),
            ({"inputs": torch.zeros(1, 2)}, "input_ids or inputs"),
            ({"stop_strings": "."}, "give generate.. the tokenizer"),
            ({"stop_strings": [""], "tokenizer": object()}, "none of them empty"),
            ({"defaults_only": True}, "Unknown generation parameter.*defaults_only"),
            ({"max_denoising_steps": -1}, "max_denoising_steps must be an integer >= 1, but is -1"),
            ({"remasking": "entropy"}, "remasking must be one of 'low_confidence', 'random'"),
            ({"block_length": 1}, "makes 32 blocks"),
            ({"input_ids": None}, "needs input_ids"),
            ({"input_ids": torch.tensor([1, 2])}, r"shape \(B, P\).*\(2,\)"),
            ({"input_ids": torch.zeros(1, 2)}, "must be integers"),
            ({"attention_mask": torch.ones(3, 4)}, r"attention_mask has shape \(3, 4\)"),
            ({"pixel_values": None}, "12 image placeholders, but no pixel_values"),
            ({"pixel_values": make_images(2)}, "12 image tokens, but the 2 images"),
            ({"image_features": torch.zeros(3, 4, 32)}, "pixel_values or image_features, not both"),
            ({"generation_config": {"seed": 1}}, "must be a GeoDiTGenerationConfig"),
            ({"temperature": 1.0, "seed": 0, "generator": torch.Generator()}, "not both"),
            ({"temperature": 1.0, "generator": [torch.Generator()]}, "1 generators .* 3 rows"),
        ],
        ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
    )
    def test_is_refused_with_a_reason(self, model, batch, changes, complaint):
        with pytest.raises(ValueError, match=complaint):
            model.generate(**{**batch, **changes})


class TestAutoregressiveArguments:
    """What users of other models are used to write means the same here, or nothing."""

    def test_do_sample_is_a_temperature(self, model, batch):
        greedy = model.generate(**batch, max_new_tokens=6)
        sampled = model.generate(**batch, max_new_tokens=6, temperature=1.0, seed=3)
        assert not torch.equal(greedy, sampled)
        assert torch.equal(model.generate(**batch, max_new_tokens=6, do_sample=False), greedy)
        assert torch.equal(model.generate(**batch, max_new_tokens=6, do_sample=True, seed=3), sampled)
        warm = GeoDiTGenerationConfig(max_new_tokens=6, temperature=0.3, seed=3)
        assert torch.equal(model.generate(**batch, generation_config=warm, do_sample=False), greedy)
        kept = model.generate(**batch, generation_config=warm, do_sample=True)
        assert torch.equal(kept, model.generate(**batch, generation_config=warm))

    def test_max_length_counts_the_prompt(self, model, batch):
        length = batch["input_ids"].shape[1] + 6
        expected = model.generate(**batch, max_new_tokens=6)
        assert torch.equal(model.generate(**batch, max_length=length), expected)
        plain = GenerationConfig(max_length=length)
        assert torch.equal(model.generate(**batch, generation_config=plain), expected)

    def test_the_prompts_may_be_called_inputs(self, model, batch):
        expected = model.generate(**batch, max_new_tokens=6)
        input_ids = batch.pop("input_ids")
        assert torch.equal(model.generate(inputs=input_ids, **batch, max_new_tokens=6), expected)

    def test_what_does_nothing_is_taken(self, model, batch):
        expected = model.generate(**batch, max_new_tokens=6)
        nothing = {
            "num_beams": 1,
            "num_return_sequences": 1,
            "top_p": 1.0,
            "top_k": None,
            "temperature": None,
            "repetition_penalty": 1.0,
            "output_scores": False,
            "logits_processor": [],
            "stopping_criteria": None,
            "synced_gpus": False,
            "assistant_model": None,
        }
        assert torch.equal(model.generate(**batch, max_new_tokens=6, **nothing), expected)

    def test_code_that_asks_for_other_parameters_finds_them_unset(self, model):
        plain = GenerationConfig()
        for name in ("num_beams", "do_sample", "max_length", "top_k", "stop_strings"):
            assert getattr(model.generation_config, name) is getattr(plain, name) is None
        assert not hasattr(model.generation_config, "num_beems")
        assert "num_beams" not in model.generation_config.to_dict()


class TestStopStrings:
    class Tokenizer:
        """Writes every token as its number."""

        def decode(self, ids, **_):
            return "".join(f"<{token}>" for token in ids)

    def test_an_answer_ends_with_the_first_of_them(self, model, batch):
        whole = model.generate(**batch, max_new_tokens=8, suppress_tokens=[EOS], return_dict_in_generate=True)
        canvas = canvas_of(whole.sequences, batch)
        third = f"<{int(canvas[0, 2])}>"
        ends = [next((i + 1 for i, token in enumerate(row) if f"<{token}>" == third), 8) for row in canvas.tolist()]
        assert ends[0] <= 3
        stopped = model.generate(
            **batch,
            max_new_tokens=8,
            suppress_tokens=[EOS],
            return_dict_in_generate=True,
            stop_strings=["never", third],
            tokenizer=self.Tokenizer(),
        )
        for row, end in enumerate(ends):
            kept = canvas_of(stopped.sequences, batch)[row]
            assert torch.equal(kept[:end], canvas[row, :end])
            assert kept[end:].tolist() == [EOS] * (8 - end)
            assert stopped.commit_steps[row, end:].tolist() == [-1] * (8 - end)
            assert torch.equal(stopped.confidences[row, :end], whole.confidences[row, :end])

    def test_one_that_is_not_there_changes_nothing(self, model, batch):
        expected = model.generate(**batch, max_new_tokens=8)
        stopped = model.generate(**batch, max_new_tokens=8, stop_strings="never", tokenizer=self.Tokenizer())
        assert torch.equal(stopped, expected)


class TestConfiguration:
    def test_a_configuration_object_does_what_arguments_do_and_arguments_override_it(self, model, batch):
        config = GeoDiTGenerationConfig(max_new_tokens=8, max_denoising_steps=2, temperature=1.0, seed=4)
        by_object = model.generate(**batch, generation_config=config)
        by_arguments = model.generate(**batch, max_new_tokens=8, max_denoising_steps=2, temperature=1.0, seed=4)
        assert torch.equal(by_object, by_arguments)
        assert model.generate(**batch, generation_config=config, max_new_tokens=5).shape[1] == (
            batch["input_ids"].shape[1] + 5
        )
        assert config.max_new_tokens == 8

    def test_a_plain_generation_config_sets_the_length(self, model, batch):
        sequences = model.generate(**batch, generation_config=GenerationConfig(max_new_tokens=5))
        assert sequences.shape[1] == batch["input_ids"].shape[1] + 5

    def test_the_model_has_one_of_its_own_with_its_special_tokens(self, model):
        assert model.can_generate()
        assert model.generation_config == GeoDiTGenerationConfig(
            mask_token_id=MASK, eos_token_id=EOS, pad_token_id=PAD
        )

    def test_it_is_saved_and_loaded_with_the_model(self, own_model, tmp_path):
        own_model.generation_config.update(max_denoising_steps=3, block_length=16)
        own_model.save_pretrained(tmp_path)
        assert json.loads((tmp_path / "generation_config.json").read_text())["max_denoising_steps"] == 3
        loaded = GeoDiTForMaskedDiffusion.from_pretrained(tmp_path)
        assert loaded.generation_config == own_model.generation_config
        assert type(loaded.generation_config) is GeoDiTGenerationConfig

    def test_from_pretrained_takes_another_one(self, own_model, tmp_path):
        own_model.save_pretrained(tmp_path)
        config = GeoDiTGenerationConfig(max_new_tokens=4)
        loaded = GeoDiTForMaskedDiffusion.from_pretrained(tmp_path, generation_config=config)
        assert loaded.generation_config.max_new_tokens == 4

    def test_without_the_file_the_defaults_hold(self, own_model, tmp_path):
        own_model.save_pretrained(tmp_path)
        (tmp_path / "generation_config.json").unlink()
        loaded = GeoDiTForMaskedDiffusion.from_pretrained(tmp_path, attention_mode="prefix")
        assert loaded.config.attention_mode == "prefix"
        assert loaded.generation_config == own_model.generation_config

    def test_a_broken_file_is_not_taken_for_a_missing_one(self, own_model, tmp_path):
        own_model.save_pretrained(tmp_path)
        (tmp_path / "generation_config.json").write_text("{")
        with pytest.raises(OSError, match="not a valid JSON file"):
            GeoDiTForMaskedDiffusion.from_pretrained(tmp_path)

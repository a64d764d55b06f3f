# SPDX-License-Identifier: Apache-2.0
"""GRPO: a policy that provably gets better, and the arguments that it goes by."""

import copy

import pytest
import torch

from defined_environment import DEVICE
from geodit.trainers.grpo.arguments import GeoDiTGRPOConfig
from geodit.trainers.grpo.log_probabilities import token_log_probabilities
from geodit.trainers.grpo.rewards import parse_reward
from geodit.trainers.grpo.trainer import GeoDiTGRPOTrainer


@pytest.fixture
def questions(items):
    return [{**item, "image_id": str(index)} for index, item in enumerate(items) if item["question"].task == "vqa"]


def arguments(tmp_path, **changes) -> GeoDiTGRPOConfig:
    settings = {
        "output_dir": str(tmp_path),
        "use_cpu": DEVICE == "cpu",
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
        "num_generations": 8,
        "per_device_train_batch_size": 16,
        "max_steps": 25,
        "learning_rate": 2e-2,
        "lr_scheduler_type": "constant",
        "logging_steps": 5,
        "save_strategy": "no",
        **changes,
    }
    return GeoDiTGRPOConfig(**settings)


def has_a_mark(answer) -> float:
    """An arm of the bandit: a few of hundreds of tokens, which nothing else speaks for.

    The untrained model samples one of them in about every fifth answer, so that some of the 16 answers to an update
    are rewarded whatever the random numbers are: another device has others.
    """
    return float(any(mark in answer.text for mark in "@?2!#"))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"log_probability_estimator": "coupled"},
        {"log_probability_estimator": "trajectory", "prompt_masking": 0.0},
        {"num_iterations": 2, "beta": 0.02, "loss_type": "grpo", "scale_rewards": "batch"},
        {"steps_per_generation": 2, "per_device_train_batch_size": 8, "importance_sampling_level": "sequence"},
        {"trainable_parts": ["vision_tower", "projector", "language_model"], "prompt_masking": 0.0},
    ],
)
def test_what_is_rewarded_becomes_what_is_answered(model_and_processor, questions, tmp_path, changes):
    model, processor = model_and_processor
    trainer = GeoDiTGRPOTrainer(
        model,
        arguments(tmp_path, learning_rate=1e-2, **changes),
        processor,
        reward_functions={"mark": has_a_mark},
        train_dataset=questions,
        eval_dataset=questions,
    )
    assert trainer.evaluate()["eval_reward"] == 0.0
    trainer.train()
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert rewards[0] < 0.6
    assert rewards[-1] > 0.8


def test_without_an_advantage_nothing_changes(model_and_processor, questions, tmp_path):
    model, processor = model_and_processor
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = GeoDiTGRPOTrainer(
        model,
        arguments(tmp_path, max_steps=2),
        processor,
        reward_functions={"same": lambda answer: 1.0},
        train_dataset=questions,
    )
    trainer.train()
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert [entry["frac_reward_zero_std"] for entry in trainer.state.log_history if "reward" in entry] == [1.0]


def test_the_penalty_is_the_kl_from_the_model_as_it_was(model_and_processor, questions, tmp_path):
    model, processor = model_and_processor
    before = copy.deepcopy(model)
    trainer = GeoDiTGRPOTrainer(
        model,
        arguments(tmp_path, beta=0.5, use_bias_correction_kl=False, loss_type="bnpo"),
        processor,
        reward_functions={"length": lambda answer: float(len(answer.text))},
        train_dataset=questions,
    )
    (experience,) = trainer._gather_experience(model, questions[:2])
    with torch.no_grad():
        model.lm_head.weight += 0.1 * torch.randn(model.lm_head.weight.shape).to(model.device)
        with_penalty = trainer.compute_loss(model, {"experience": experience})
        trainer.args.beta = 0.0
        without = trainer.compute_loss(model, {"experience": experience})
        new, old = (
            token_log_probabilities(
                network, experience.rollouts, experience.hidden, mask_token_id=model.config.mask_token_id
            )[experience.rollouts.decided]
            for network in (model, before)
        )
    expected = 0.5 * ((old - new).exp() - (old - new) - 1).mean()
    assert expected > 0.01
    torch.testing.assert_close(with_penalty - without, expected)


def test_the_reference_computes_as_the_model_does(model_and_processor, questions, tmp_path):
    model, processor = model_and_processor
    args = arguments(tmp_path, bf16=True, beta=0.5, max_steps=1, logging_steps=1)
    reward = {"length": lambda answer: float(len(answer.text))}
    trainer = GeoDiTGRPOTrainer(model, args, processor, reward_functions=reward, train_dataset=questions)
    trainer.train()
    # Before the first update they are the same.
    assert trainer.state.log_history[0]["kl"] == 0.0


def test_the_same_seed_gives_the_same_run(model_and_processor, questions, tmp_path):
    model, processor = model_and_processor
    start = {name: value.clone() for name, value in model.state_dict().items()}
    ends = []
    for _ in range(2):
        model.load_state_dict(start)
        torch.manual_seed(len(ends))
        trainer = GeoDiTGRPOTrainer(
            model,
            arguments(tmp_path, max_steps=2),
            processor,
            train_dataset=questions,
            reward_functions={"length": lambda answer: float(len(answer.text))},
        )
        trainer.train()
        ends.append({name: value.clone() for name, value in model.state_dict().items()})
    assert all(value.equal(ends[1][name]) for name, value in ends[0].items())
    assert any(not value.equal(start[name]) for name, value in ends[0].items())


def test_a_resumed_run_is_the_run_that_was_not_stopped(model_and_processor, questions, tmp_path):
    model, processor = model_and_processor
    start = {name: value.clone() for name, value in model.state_dict().items()}
    ends = []
    for checkpoint in (None, str(tmp_path / "checkpoint-2")):
        model.load_state_dict(start)
        trainer = GeoDiTGRPOTrainer(
            model,
            arguments(tmp_path, max_steps=4, save_strategy="steps", save_steps=2, num_iterations=2, beta=0.0),
            processor,
            train_dataset=questions,
            reward_functions={"length": lambda answer: float(len(answer.text))},
        )
        trainer.train(resume_from_checkpoint=checkpoint)
        ends.append({name: value.clone() for name, value in model.state_dict().items()})
    assert all(value.equal(ends[1][name]) for name, value in ends[0].items())


def test_only_the_parts_that_are_named_are_trained(model_and_processor, questions, tmp_path):
    model, processor = model_and_processor
    before = {name: value.clone() for name, value in model.state_dict().items()}
    GeoDiTGRPOTrainer(
        model,
        arguments(tmp_path, max_steps=1),
        processor,
        train_dataset=questions,
        reward_functions={"length": lambda answer: float(len(answer.text))},
    ).train()
    changed = {name for name, value in model.state_dict().items() if not value.equal(before[name])}
    assert changed
    assert all(name.startswith(("model.language_model.", "lm_head.")) for name in changed)


def test_an_adapter_on_a_base_of_16_bits_is_trained_in_float32(model_and_processor, questions, tmp_path):
    peft = pytest.importorskip("peft")
    model, processor = model_and_processor
    trainer = GeoDiTGRPOTrainer(
        model.to(torch.bfloat16),
        arguments(tmp_path, max_steps=2, bf16=True, beta=0.01),
        processor,
        peft_config=peft.LoraConfig(r=2),
        reward_functions={"length": lambda answer: float(len(answer.text))},
        train_dataset=questions,
        eval_dataset=questions,
    )
    trained = {name: value for name, value in trainer.model.named_parameters() if value.requires_grad}
    assert any("multi_modal_projector" in name for name in trained)
    assert {value.dtype for value in trained.values()} == {torch.float32}
    before = {name: value.detach().clone() for name, value in trained.items()}
    trainer.train()
    assert any(not value.equal(before[name]) for name, value in trained.items())
    assert "eval_reward" in trainer.evaluate()


def test_with_an_adapter_peft_says_what_is_trained(model_and_processor, questions, tmp_path):
    peft = pytest.importorskip("peft")
    model, processor = model_and_processor
    config, args = peft.LoraConfig(r=2), arguments(tmp_path, trainable_parts=["projector"])
    with pytest.raises(ValueError, match="Leave trainable_parts out"):
        GeoDiTGRPOTrainer(model, args, processor, peft_config=config, train_dataset=questions)


def test_rewards_that_say_nothing_are_an_error(model_and_processor, questions, tmp_path):
    trainer = GeoDiTGRPOTrainer(
        *[model_and_processor[0], arguments(tmp_path, reward_functions=["iou"]), model_and_processor[1]],
        train_dataset=questions,
    )
    with pytest.raises(ValueError, match="The rewards iou say nothing about any of these tasks: vqa"):
        trainer.train()


def test_a_loss_that_is_not_finite_names_its_questions(model_and_processor, questions, tmp_path, monkeypatch):
    model, processor = model_and_processor
    args = arguments(tmp_path, shuffle_dataset=False)
    trainer = GeoDiTGRPOTrainer(
        model, args, processor, reward_functions={"parse": parse_reward}, train_dataset=questions
    )
    probabilities = trainer._log_probabilities
    monkeypatch.setattr(trainer, "_log_probabilities", lambda *asked: probabilities(*asked) * torch.nan)
    with pytest.raises(FloatingPointError, match=r"items [25] \(vqa How many ships are there\?\), [25] \("):
        trainer.train()


def test_too_few_prompts_are_an_error(model_and_processor, questions, tmp_path):
    model, processor = model_and_processor
    args = arguments(tmp_path, per_device_train_batch_size=64)
    with pytest.raises(ValueError, match=f"8 prompts are answered at once, but there are {len(questions)}"):
        GeoDiTGRPOTrainer(model, args, processor, train_dataset=questions)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_vllm": True}, "use_vllm has no effect on masked diffusion"),
        ({"top_p": 0.9}, "top_p has no effect"),
        ({"max_completion_length": 12}, "max_completion_length has no effect"),
        ({"loss_type": "cispo"}, "loss_type must be one of grpo, bnpo"),
        ({"trainable_parts": ["head"]}, "trainable_parts must name"),
        ({"reward_functions": ["box"]}, "reward_functions must name"),
        ({"reward_weights": [1.0]}, "1 numbers for the 2 rewards iou, exact"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"prompt_masking": 1.0}, "prompt_masking must be"),
        ({"log_probability_estimator": "elbo"}, "log_probability_estimator must be one of"),
        (
            {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 6, "steps_per_generation": 3},
            "must be divisible by num_generations|no multiple of num_generations",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        arguments(tmp_path, **changes)


def test_other_arguments_are_refused(model_and_processor, questions, tmp_path):
    from trl import GRPOConfig

    model, processor = model_and_processor
    args = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none")
    with pytest.raises(ValueError, match="args must be a GeoDiTGRPOConfig, got GRPOConfig"):
        GeoDiTGRPOTrainer(model, args, processor, train_dataset=questions)
    args = arguments(tmp_path, reward_weights=[1.0, 1.0])
    with pytest.raises(ValueError, match="2 reward_weights for 1 rewards"):
        GeoDiTGRPOTrainer(model, args, processor, reward_functions={"parse": parse_reward}, train_dataset=questions)

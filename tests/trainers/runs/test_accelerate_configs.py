# SPDX-License-Identifier: Apache-2.0
"""The configurations of accelerate: read by its own launcher, to the plugins that a training process gets."""

from importlib.resources import files
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin, DistributedType, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

FOLDER = Path(str(files("geodit.recipes"))) / "accelerate"
CONFIGS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
TYPES = {
    "ddp": DistributedType.MULTI_GPU,
    "fsdp2": DistributedType.FSDP,
    "deepspeed_zero2": DistributedType.DEEPSPEED,
    "deepspeed_zero3": DistributedType.DEEPSPEED,
}


def launch(name: str, *more: str):
    """The arguments that `accelerate launch` arrives at, and the environment that it starts the processes with."""
    config = str(FOLDER / f"{name}.yaml")
    command = ["--config_file", config, "--main_process_port", "0", *more, "-m", "geodit.cli", "train", "stage2"]
    args, _, _ = _validate_launch_command(launch_command_parser().parse_args(command))
    if not args.use_deepspeed:
        return args, prepare_multi_gpu_env(args)
    args.deepspeed_fields_from_accelerate_config = ",".join(load_config_from_file(config).deepspeed_config)
    return args, prepare_deepspeed_cmd_env(args)[1]


def test_there_is_one_for_each_way_on_one_machine_and_on_many():
    assert {name.removesuffix("_multi_node") for name in CONFIGS} == set(TYPES)
    assert {name.removesuffix("_multi_node") for name in CONFIGS if name.endswith("_multi_node")} == {
        "ddp",
        "fsdp2",
        "deepspeed_zero3",
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_accelerate_reads_it(name):
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert config.distributed_type == TYPES[name.removesuffix("_multi_node")]
    assert config.mixed_precision == "bf16"
    assert config.num_processes % config.num_machines == 0


@pytest.mark.parametrize("name", CONFIGS)
def test_the_launcher_starts_a_process_for_each_gpu_of_a_machine(name):
    multi_node = name.endswith("_multi_node")
    args, env = launch(name, *(["--machine_rank", "1", "--main_process_ip", "10.0.0.1"] if multi_node else []))
    assert args.nproc_per_node == "8"
    assert env["ACCELERATE_MIXED_PRECISION"] == "bf16"
    if multi_node:
        assert (args.nnodes, args.node_rank) == ("2", 1)
        assert args.rdzv_endpoint.startswith("10.0.0.1:")


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("fsdp2")])
def test_fsdp_shards_layer_by_layer(name, monkeypatch):
    for key, value in launch(name)[1].items():
        monkeypatch.setenv(key, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward
    assert plugin.activation_checkpointing
    assert plugin.auto_wrap_policy.__name__ == "transformer_auto_wrap_policy"
    assert "FULL" in str(plugin.state_dict_type)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("deepspeed")])
def test_deepspeed_has_the_stage_of_its_name(name, monkeypatch):
    for key, value in launch(name)[1].items():
        monkeypatch.setenv(key, value)
    plugin = DeepSpeedPlugin()
    assert plugin.zero_stage == int(name.removeprefix("deepspeed_zero")[0])
    assert plugin.deepspeed_config["gradient_accumulation_steps"] == "auto"


def test_they_are_no_training_recipes():
    from geodit.trainers.runs.recipes import resolve_recipe

    with pytest.raises(FileNotFoundError) as caught:
        resolve_recipe("nothing")
    assert "accelerate" not in str(caught.value)

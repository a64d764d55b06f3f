# SPDX-License-Identifier: Apache-2.0
"""Whether a model was loaded whole: every tensor there, of the right shape and type, and all numbers finite."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

_NAMED = 5
# How much larger than its files a model may be: weights that are tied are saved once, and what is small does no harm.
_LARGEST_RATIO = 2
_SMALL = 2**27
_ELEMENTS_AT_ONCE = 2**26


def check_size(model: nn.Module, files: Collection[str] | None, name: Any) -> None:
    """Refuse a configuration of a model far larger than its files, before memory is taken for what they lack.

    Args:
        model: The model on the meta device, which takes none.
        files: Its safetensors files.
        name: Folder or Hub id, for the error.

    Raises:
        ValueError: If the model has more than twice the parameters that they have, and is not small.
    """
    if not files or not all(str(file).endswith(".safetensors") for file in files):
        return
    stored = sum(_count_elements(file) for file in files)
    wanted = sum(parameter.numel() for parameter in model.parameters())
    if wanted > _LARGEST_RATIO * stored + _SMALL:
        raise ValueError(
            f"config.json of {name} describes a model of {wanted:,} parameters, but its files hold {stored:,} "
            "numbers: they do not belong together, or were cut off."
        )


def check_complete(
    name: Any,
    info: Mapping[str, Collection[Any]],
    *,
    ignore_mismatched_sizes: bool = False,
    made_anew: tuple[str, ...] = (),
) -> None:
    """Refuse a model that was not loaded whole: what is missing would be random, and the answers nonsense.

    Args:
        name: Folder or Hub id, for the error.
        info: What `from_pretrained(..., output_loading_info=True)` says.
        ignore_mismatched_sizes: Whether tensors of other shapes are wanted.
        made_anew: Parameters, by the last part of their names, that may be missing.

    Raises:
        ValueError: Listing the tensors.
    """
    missing = [key for key in sorted(info["missing_keys"]) if key.rpartition(".")[2] not in made_anew]
    problems = [f"{key} is missing" for key in missing]
    problems += [f"{key} is not part of the model" for key in sorted(info["unexpected_keys"])]
    if not ignore_mismatched_sizes:
        problems += [
            f"{key} has the shape {tuple(found)} in place of {tuple(wanted)}"
            for key, found, wanted in sorted(info["mismatched_keys"])
        ]
    if problems:
        more = f" and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise ValueError(
            f"The weights of {name} are not those of the model that its config.json describes: "
            f"{'; '.join(problems[:_NAMED])}{more}. To load what there is, pass output_loading_info=True."
        )


def check_values(model: nn.Module, name: Any, *, quantized: bool = False) -> None:
    """Refuse weights that are not numbers, or not of a floating point type. Reads each of them once.

    On a GPU the devices are waited for once, at the end.

    Args:
        model: The model. Parameters that are not in memory are passed over.
        name: Folder or Hub id, for the error.
        quantized: Whether integers are the weights of a quantization.

    Raises:
        ValueError: Naming the first tensor.
    """
    sums: dict[torch.device, list[torch.Tensor]] = {}
    names: dict[torch.device, list[str]] = {}
    for key, parameter in _local_parameters(model):
        if not parameter.is_floating_point():
            if quantized:
                continue
            raise ValueError(
                f"The weights of {name} are damaged: {key} is of type {str(parameter.dtype).removeprefix('torch.')}, "
                "not of a floating point type."
            )
        # A sum is finite only if all its terms are; whether it overflowed by itself is looked at below.
        sums.setdefault(parameter.device, []).append(parameter.sum(dtype=torch.float32))
        names.setdefault(parameter.device, []).append(key)
    for device, found in sums.items():
        finite = torch.stack(found).isfinite().tolist()
        for key, is_finite in zip(names[device], finite, strict=True):
            if not is_finite and not _all_finite(dict(_local_parameters(model))[key]):
                raise ValueError(f"The weights of {name} are damaged: {key} holds values that are NaN or infinite.")


def _local_parameters(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters that are plain tensors in memory; of sharded ones, the part that this process has."""
    for key, parameter in model.named_parameters():
        local: torch.Tensor = parameter.to_local() if hasattr(parameter, "to_local") else parameter
        local = local.detach()
        # Quantized weights are tensors of a class of their own, which few operations know.
        if type(local) is torch.Tensor and local.device.type != "meta" and local.numel():
            yield key, local


def _all_finite(tensor: torch.Tensor) -> bool:
    return all(bool(part.isfinite().all()) for part in tensor.flatten().split(_ELEMENTS_AT_ONCE))


def _count_elements(file: str | os.PathLike[str]) -> int:
    """Numbers in a safetensors file, by its header."""
    with safe_open(file, framework="pt") as opened:
        return sum(torch.Size(opened.get_slice(key).get_shape()).numel() for key in opened.keys())  # noqa: SIM118


__all__ = ["check_complete", "check_size", "check_values"]

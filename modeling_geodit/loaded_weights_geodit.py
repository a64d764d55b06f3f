# SPDX-License-Identifier: Apache-2.0
"""Whether a model was loaded whole: every tensor there, of the right shape and type, and all numbers finite."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TypedDict

import torch
from safetensors import safe_open
from torch import nn

__all__ = ["check_complete", "check_headers", "check_values", "without_report"]

_FLOATS = ("F64", "F32", "F16", "BF16")
# A whole model saves its parts under this prefix, and a part of it can be loaded from there.
_PREFIX = "model."
_NAMED = 5
# How much larger than its files a model may be: weights that are tied are saved once, and what is small does no harm.
_LARGEST_RATIO = 2
_SMALL = 2**27
_ELEMENTS_AT_ONCE = 2**26


class LoadingInfo(TypedDict):
    """What `from_pretrained(..., output_loading_info=True)` says."""

    missing_keys: Collection[str]
    unexpected_keys: Collection[str]
    mismatched_keys: Collection[tuple[str, Sequence[int], Sequence[int]]]


def check_headers(model: nn.Module, files: Collection[str] | None, name: object) -> None:
    """Refuse files that cannot be those of a model, by their headers, before memory is taken for what they lack.

    Transformers turns integers into numbers of the type that is asked for, whatever they were meant to be.

    Args:
        model: The model on the meta device, which takes none.
        files: Its safetensors files.
        name: Folder or Hub id, for the error.

    Raises:
        ValueError: If a tensor is not of a floating point type, or the model has more than twice the parameters that
            the files have numbers, and is not small.
    """
    if not files or not all(str(file).endswith(".safetensors") for file in files):
        return
    stored = 0
    parameters = {name.removeprefix(_PREFIX) for name, _ in model.named_parameters()}
    for path in files:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                tensor = file.get_slice(key)
                if tensor.get_dtype() not in _FLOATS and key.removeprefix(_PREFIX) in parameters:
                    raise ValueError(
                        f"The weights of {name} are damaged: {key} is of type {tensor.get_dtype()}, not one of "
                        f"{', '.join(_FLOATS)}."
                    )
                stored += torch.Size(tensor.get_shape()).numel()
    wanted = sum(parameter.numel() for parameter in model.parameters())
    if wanted > _LARGEST_RATIO * stored + _SMALL:
        raise ValueError(
            f"config.json of {name} describes a model of {wanted:,} parameters, but its files hold {stored:,} "
            "numbers: they do not belong together, or were cut off."
        )


@contextmanager
def without_report(unwanted: bool) -> Iterator[None]:
    """Leave out the table in which Transformers logs tensors that do not fit, where an error names them.

    Args:
        unwanted: Whether to; otherwise this does nothing.
    """
    logger = logging.getLogger("transformers.modeling_utils")

    def is_wanted(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    if unwanted:
        logger.addFilter(is_wanted)
    try:
        yield
    finally:
        logger.removeFilter(is_wanted)


def check_complete(
    name: object,
    info: LoadingInfo,
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


def check_values(model: nn.Module, name: object) -> None:
    """Refuse weights that are NaN or infinite. Reads each of them once.

    On a GPU the devices are waited for once, at the end.

    Args:
        model: The model. Parameters that are not in memory are passed over.
        name: Folder or Hub id, for the error.

    Raises:
        ValueError: Naming the first tensor.
    """
    norms: dict[torch.device, dict[str, torch.Tensor]] = {}
    for key, parameter in _local_parameters(model):
        # A norm is finite only if every number is, and nothing reads them faster; that of large numbers may overflow.
        norms.setdefault(parameter.device, {})[key] = torch.linalg.vector_norm(parameter).float()
    parameters = dict(_local_parameters(model))
    for found in norms.values():
        finite = torch.stack(list(found.values())).isfinite().tolist()
        for key, is_finite in zip(found, finite, strict=True):
            if not is_finite and not _all_finite(parameters[key]):
                raise ValueError(f"The weights of {name} are damaged: {key} holds values that are NaN or infinite.")


def _local_parameters(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the parameters that are plain tensors in memory; of sharded ones, the part that this process has."""
    for key, parameter in model.named_parameters():
        local: torch.Tensor = parameter.to_local() if hasattr(parameter, "to_local") else parameter
        local = local.detach()
        # Quantized weights are tensors of a class of their own, which few operations know.
        if type(local) is torch.Tensor and local.is_floating_point() and local.device.type != "meta" and local.numel():
            yield key, local


def _all_finite(tensor: torch.Tensor) -> bool:
    return all(bool(part.isfinite().all()) for part in tensor.flatten().split(_ELEMENTS_AT_ONCE))

# SPDX-License-Identifier: Apache-2.0
"""From the published weights of LLaDA, SigLIP and LLaDA-V to a GeoDiT checkpoint, and back to LLaDA.

Nothing is loaded as a whole: every tensor goes from the source to the target in blocks of rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME

import geodit
from geodit.configuration.configuration_geodit import GeoDiTConfig, GeoDiTTextConfig
from geodit.configuration.generation_configuration_geodit import GeoDiTGenerationConfig
from geodit.configuration.new_folders import check_free_space, new_folder
from geodit.configuration.text_files import read_json_object
from geodit.configuration.types_geodit import Arguments, JsonObject
from geodit.modeling_geodit.image_encoding_geodit import GeoDiTMultiModalProjector
from geodit.modeling_geodit.modeling_geodit import GeoDiTForMaskedDiffusion
from geodit.processing.image_processors import build_image_processor
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.weights.checkpoint_reader import CheckpointReader, match_tensors
from geodit.weights.checkpoint_sources import find_checkpoint
from geodit.weights.checkpoint_writer import PlannedTensor, planned, write_checkpoint
from geodit.weights.conversion_llada import convert_llada_config, geodit_to_llada_name, llada_to_geodit_name
from geodit.weights.conversion_llada_v import (
    convert_llada_v_config,
    geodit_to_llada_v_name,
    llada_v_to_geodit_name,
    num_tower_layers,
    vision_fields,
)
from geodit.weights.conversion_siglip import (
    geodit_to_siglip_name,
    read_siglip_vision_config,
    siglip_to_geodit_name,
)
from geodit.weights.model_tensors import (
    EMBEDDINGS_WEIGHT,
    OUTPUT_PROJECTION_WEIGHT,
    PROJECTOR_PREFIX,
    VISION_TOWER_PREFIX,
    tensor_shapes,
)
from geodit.weights.new_tokens import SPECIAL_IDS, Vocabulary, load_tokenizer, make_vocabulary, with_new_rows

__all__ = ["ASSEMBLY_FILE", "AssemblyReport", "assemble", "assemble_llada_v"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""The types that weights can be written in."""

ASSEMBLY_FILE = "assembly.json"
"""What an assembled checkpoint says about where its weights come from."""

Progress = Callable[[int, int], None]
WriteCard = Callable[[Path, str], object]

_EMBEDDING_MATRICES = (EMBEDDINGS_WEIGHT, OUTPUT_PROJECTION_WEIGHT)
_PREPROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")


@dataclass(frozen=True)
class AssemblyReport:
    """What a checkpoint was made of; also written to its folder as `assembly.json`.

    Args:
        sources: The checkpoints that were read, by what was taken from them.
        num_parameters: Parameters of the model.
        num_bytes: Size of its weights.
        dtype: The type they are written in.
        initialized: Tensors that no source has, which have new values.
        unused: Tensors of the sources that have no part in GeoDiT.
        notes: What else a user should know.
        geodit_version: The version of this package.
    """

    sources: dict[str, str]
    num_parameters: int
    num_bytes: int
    dtype: str
    initialized: tuple[str, ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...]
    geodit_version: str = geodit.__version__


@dataclass(frozen=True)
class _TextCore:
    """A text core that somebody published: where it is, its geometry, its names."""

    directory: Path
    reader: CheckpointReader
    text_config: GeoDiTTextConfig
    declared_ids: list[tuple[str, Mapping[str, object]]]
    rename: Callable[[str], str | None]
    original_name: Callable[[str], str]


@dataclass(frozen=True)
class _Part:
    """Tensors that are taken from a checkpoint: its names of them by GeoDiT's."""

    reader: CheckpointReader
    sources: dict[str, str]


def assemble(
    text: str | PathLike[str],
    vision: str | PathLike[str],
    output_dir: str | PathLike[str],
    *,
    tokenizer: str | PathLike[str] | bool = True,
    location_bins: int = 0,
    dtype: str | None = None,
    max_shard_size: str | int = "5GB",
    seed: int = 0,
    on_progress: Progress | None = None,
    write_card: WriteCard | None = None,
) -> AssemblyReport:
    """Make a GeoDiT checkpoint of a text core and a vision tower; the projector between them is new.

    The folder is ready for the Hub: weights, configuration, tokenizer, processor, model card. It appears when it is
    complete. No more than a block of a tensor is in memory at a time.

    Args:
        text: Folder or Hub id of LLaDA, under its own names or, as LLaDA-V's text core, under Llama's.
        vision: Folder or Hub id of SigLIP, whole or its vision tower alone.
        output_dir: The folder to make.
        tokenizer: Where the tokenizer is, if not beside the text core; `False` writes model and configuration alone.
        location_bins: Location tokens to add, which a box is written in; 0 writes boxes as numbers.
        dtype: `"float32"`, `"bfloat16"` or `"float16"`; by default the type of the text core.
        max_shard_size: Size of a file at most, such as `"5GB"`.
        seed: Of the random numbers that the projector starts from.
        on_progress: Called with the bytes written so far and in all.
        write_card: Writes the model card, given the folder in the making and the name of the model; by default there
            is none. `geodit assemble` writes one.

    Returns:
        What was read and what is new.

    Raises:
        ValueError: When a source is missing, pickled or not what it should be; every tensor that is unknown, missing
            or of the wrong shape is listed.
        FileExistsError: If `output_dir` exists.
    """
    core = _read_text_core(find_checkpoint(str(text)))
    tower = find_checkpoint(str(vision))
    vision_config = read_siglip_vision_config(tower)
    vocabulary = make_vocabulary(
        _find_tokenizer(tokenizer, core.directory),
        core.declared_ids,
        num_rows=core.text_config.vocab_size,
        location_bins=location_bins,
    )
    config = _geodit_config(core.text_config, vocabulary, vision_config=vision_config.to_dict())
    expected = _source_shapes(config, core.text_config.vocab_size)
    text_shapes = {
        name: shape for name, shape in expected.items() if not name.startswith((VISION_TOWER_PREFIX, PROJECTOR_PREFIX))
    }
    parts = [
        _Part(core.reader, match_tensors(core.reader, core.rename, text_shapes, core.original_name)),
        _vision_part(tower, expected),
    ]
    return _write(
        Path(output_dir),
        config,
        vocabulary,
        parts,
        sources={"text": str(text), "vision": str(vision)},
        normalization=_normalization(tower),
        initialized=_new_projector(config, seed),
        dtype=_choose_dtype(dtype, core.reader),
        max_shard_size=max_shard_size,
        on_progress=on_progress,
        write_card=write_card,
    )


def assemble_llada_v(
    checkpoint: str | PathLike[str],
    output_dir: str | PathLike[str],
    *,
    vision: str | PathLike[str] | None = None,
    tokenizer: str | PathLike[str] | bool = True,
    location_bins: int = 0,
    dtype: str | None = None,
    max_shard_size: str | int = "5GB",
    on_progress: Progress | None = None,
    write_card: WriteCard | None = None,
) -> AssemblyReport:
    """Make a GeoDiT checkpoint of one of LLaDA-V, which sees pictures as LLaDA-V does.

    Its projector and `image_newline` are taken over; nothing is new but the embeddings of the tokens that are added.
    LLaVA's code drops the last layer of the tower, of which it uses the last but one: both forms are read.

    Args:
        checkpoint: Folder or Hub id, in the layout of https://huggingface.co/GSAI-ML/LLaDA-V.
        output_dir: The folder to make.
        vision: Folder or Hub id of the SigLIP model that its tower comes from, for the geometry, which LLaDA-V's
            configuration does not hold, and for the weights if `checkpoint` has none; by default the one that its
            configuration names (`mm_vision_tower`).
        tokenizer: As in [`assemble`].
        location_bins: As in [`assemble`].
        dtype: As in [`assemble`].
        max_shard_size: As in [`assemble`].
        on_progress: As in [`assemble`].
        write_card: As in [`assemble`].

    Returns:
        What was read and what is new.

    Raises:
        ValueError: As [`assemble`].
        FileExistsError: If `output_dir` exists.
    """
    directory = find_checkpoint(str(checkpoint))
    source = convert_llada_v_config(read_json_object(directory / CONFIG_NAME))
    reader = CheckpointReader(directory)
    tower_layers = num_tower_layers(reader.records)
    named = vision or source.vision_tower
    if named is None:
        raise ValueError(
            f"{directory} does not say which vision tower it has (mm_vision_tower): name a SigLIP model with --vision."
        )
    tower = find_checkpoint(str(named), weights=tower_layers is None)
    vision_config = read_siglip_vision_config(tower)
    vocabulary = make_vocabulary(
        _find_tokenizer(tokenizer, directory),
        _declared_ids(directory, source.token_ids),
        num_rows=source.text_config.vocab_size,
        location_bins=location_bins,
    )
    config = _geodit_config(source.text_config, vocabulary, **vision_fields(source, vision_config, tower_layers))
    expected = _source_shapes(config, source.text_config.vocab_size)
    sources = {"llada_v": str(checkpoint)}
    parts = []
    if tower_layers is None:
        sources["vision"] = str(named)
        parts.append(_vision_part(tower, expected))
        expected = {name: shape for name, shape in expected.items() if not name.startswith(VISION_TOWER_PREFIX)}
    parts.insert(0, _Part(reader, match_tensors(reader, llada_v_to_geodit_name, expected, geodit_to_llada_v_name)))
    return _write(
        Path(output_dir),
        config,
        vocabulary,
        parts,
        sources=sources,
        normalization=_normalization(tower),
        initialized={},
        dtype=_choose_dtype(dtype, reader),
        max_shard_size=max_shard_size,
        on_progress=on_progress,
        write_card=write_card,
    )


def _read_text_core(directory: Path) -> _TextCore:
    """Read LLaDA under its own names (`d_model` in its configuration), or under Llama's."""
    reader = CheckpointReader(directory)
    config = read_json_object(directory / CONFIG_NAME)
    if "hidden_size" in config:
        source = convert_llada_v_config(config)
        ids = _declared_ids(directory, source.token_ids)
        names = (llada_v_to_geodit_name, geodit_to_llada_v_name)
        return _TextCore(directory, reader, source.text_config, ids, *names)
    llada = convert_llada_config(config)
    ids = _declared_ids(directory, {name: config.get(name) for name in SPECIAL_IDS})
    return _TextCore(directory, reader, llada.text_config, ids, llada_to_geodit_name, geodit_to_llada_name)


def _declared_ids(directory: Path, config: Mapping[str, object]) -> list[tuple[str, Mapping[str, object]]]:
    declared: list[tuple[str, Mapping[str, object]]] = [(CONFIG_NAME, config)]
    path = directory / GENERATION_CONFIG_NAME
    if path.is_file():
        declared.append((GENERATION_CONFIG_NAME, read_json_object(path)))
    return declared


def _find_tokenizer(tokenizer: str | PathLike[str] | bool, directory: Path) -> PreTrainedTokenizerFast | None:
    if tokenizer is False:
        return None
    return load_tokenizer(directory if tokenizer is True else find_checkpoint(str(tokenizer), weights=False))


def _normalization(directory: Path) -> JsonObject:
    """Read the mean and standard deviation that SigLIP's own folder gives for images; without such a file, none."""
    for name in _PREPROCESSOR_FILES:
        if (directory / name).is_file():
            content = read_json_object(directory / name)
            fields = content.get("image_processor", content)
            return {key: fields[key] for key in ("image_mean", "image_std") if key in fields}
    return {}


def _geodit_config(text_config: GeoDiTTextConfig, vocabulary: Vocabulary, **fields: Any) -> GeoDiTConfig:
    ids: Arguments = dict(vocabulary.special_ids)
    text_ids = {name: ids[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return GeoDiTConfig(
        text_config={**text_config.to_dict(), "vocab_size": vocabulary.num_rows, **text_ids},
        tie_word_embeddings=text_config.tie_word_embeddings,
        architectures=[GeoDiTForMaskedDiffusion.__name__],
        **ids,
        **fields,
    )


def _source_shapes(config: GeoDiTConfig, num_rows: int) -> dict[str, tuple[int, ...]]:
    """Tensors of a model and their shapes, with as many rows of embeddings as the source has."""
    return {
        name: (num_rows, *shape[1:]) if name in _EMBEDDING_MATRICES else shape
        for name, shape in tensor_shapes(config).items()
    }


def _vision_part(directory: Path, expected: Mapping[str, tuple[int, ...]]) -> _Part:
    reader = CheckpointReader(directory)
    shapes = {name: shape for name, shape in expected.items() if name.startswith(VISION_TOWER_PREFIX)}
    return _Part(reader, match_tensors(reader, siglip_to_geodit_name, shapes, geodit_to_siglip_name))


def _new_projector(config: GeoDiTConfig, seed: int) -> dict[str, torch.Tensor]:
    """Make weights as Transformers initializes linear layers: normal, with biases of zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        projector = GeoDiTMultiModalProjector(config)
    return {
        PROJECTOR_PREFIX + name: torch.zeros(shape.shape)
        if name.endswith("bias")
        else torch.normal(0.0, config.initializer_range, shape.shape, generator=generator)
        for name, shape in projector.state_dict().items()
    }


def _choose_dtype(dtype: str | None, reader: CheckpointReader) -> torch.dtype:
    if dtype is None:
        return reader.dtype(max(reader.records, key=lambda name: torch.Size(reader.records[name].shape).numel()))
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    return DTYPES[dtype]


def _write(
    output_dir: Path,
    config: GeoDiTConfig,
    vocabulary: Vocabulary,
    parts: Sequence[_Part],
    *,
    sources: dict[str, str],
    normalization: JsonObject,
    initialized: Mapping[str, torch.Tensor],
    dtype: torch.dtype,
    max_shard_size: str | int,
    on_progress: Progress | None,
    write_card: WriteCard | None,
) -> AssemblyReport:
    """Write everything to a folder that appears when it is complete."""
    config.dtype = dtype
    tensors: dict[str, PlannedTensor] = {name: planned(tensor, dtype) for name, tensor in initialized.items()}
    for part in parts:
        for name, source in part.sources.items():
            shape = part.reader.records[source].shape
            if name in _EMBEDDING_MATRICES:
                shape = (vocabulary.num_rows, *shape[1:])
                tensors[name] = with_new_rows(part.reader, source, vocabulary, shape, dtype)
            else:
                part.reader.dtype(source)  # refuses what is no floating point number before anything is written
                tensors[name] = PlannedTensor(shape, dtype, partial(part.reader.blocks, source))
    num_bytes = sum(tensor.num_bytes for tensor in tensors.values())
    report = AssemblyReport(
        sources=sources,
        num_parameters=sum(torch.Size(tensor.shape).numel() for tensor in tensors.values()),
        num_bytes=num_bytes,
        dtype=str(dtype).removeprefix("torch."),
        initialized=tuple(initialized),
        unused=tuple(sorted(name for part in parts for name in part.reader.records.keys() - part.sources.values())),
        notes=vocabulary.notes,
    )
    with new_folder(output_dir) as folder:
        check_free_space(folder, num_bytes)
        write_checkpoint(folder, tensors, max_shard_size=max_shard_size, on_progress=on_progress)
        config.save_pretrained(folder)
        GeoDiTGenerationConfig.from_model_config(config).save_pretrained(folder)
        if vocabulary.tokenizer is not None:
            image_processor = build_image_processor(config)
            for name, value in normalization.items():
                setattr(image_processor, name, value)
            GeoDiTProcessor(
                image_processor,
                vocabulary.tokenizer,
                box_format="location_tokens" if vocabulary.location_bins else "integers_100",
                num_image_tokens=config.num_image_tokens,
                vision_aspect_ratio=config.vision_aspect_ratio,
            ).save_pretrained(folder)
        document = json.dumps(asdict(report), indent=2) + "\n"
        (folder / ASSEMBLY_FILE).write_text(document, encoding="utf-8")
        if write_card is not None:
            write_card(folder, output_dir.name)
    return report

# SPDX-License-Identifier: Apache-2.0
"""Tiny random checkpoints of other families, of the same classes as the real ones, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPVisionConfig,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llama import LlamaConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from geodit.evaluation.other_models.image_processors import image_only

CHAT_TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}]{% for part in message.content %}"
    "{% if part.type == 'image' %}IMAGE_MARK{% else %}{{ part.text }}{% endif %}{% endfor %}\n{% endfor %}[assistant]"
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "initializer_range": 0.4,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def byte_tokenizer(*special: str, **named: str) -> PreTrainedTokenizerFast:
    """A tokenizer of bytes: `<pad>`, `<s>`, `</s>`, `<unk>`, then 256 bytes, then special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    first = ["<pad>", "<s>", "</s>", "<unk>"]
    vocab = {token: index for index, token in enumerate([*first, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    named_tokens = {"extra_special_tokens": named} if named else {}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        **named_tokens,
    )
    fast.add_tokens(list(special), special_tokens=True)
    return fast


def qwen2_5_vl() -> tuple[Any, Any]:
    tokenizer = byte_tokenizer("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    ids = {name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "image_pad", "video_pad")}
    processor = image_only(Qwen2_5_VLProcessor)(
        Qwen2VLImageProcessorPil(patch_size=14, min_pixels=28 * 28, max_pixels=112 * 112),
        tokenizer,
        chat_template=CHAT_TEMPLATE.replace("IMAGE_MARK", "<|vision_start|><|image_pad|><|vision_end|>"),
    )
    config = Qwen2_5_VLConfig(
        text_config={
            **TEXT,
            "vocab_size": len(tokenizer),
            "rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2], "rope_type": "default"},
        },
        vision_config={
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [0],
        },
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
    )
    return build(Qwen2_5_VLForConditionalGeneration, config), processor


def internvl() -> tuple[Any, Any]:
    tokenizer = byte_tokenizer(
        "<ref>",
        "</ref>",
        "<box>",
        "</box>",
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    processor = image_only(InternVLProcessor)(
        GotOcr2ImageProcessorPil(size={"height": 28, "width": 28}, max_patches=3),
        tokenizer,
        image_seq_length=1,
        chat_template=CHAT_TEMPLATE.replace("IMAGE_MARK", "<IMG_CONTEXT>\n"),
    )
    config = InternVLConfig(
        text_config={"model_type": "qwen2", **TEXT, "vocab_size": len(tokenizer)},
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": [28, 28],
            "patch_size": [14, 14],
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=1,
        downsample_ratio=0.5,
    )
    return build(InternVLForConditionalGeneration, config), processor


def florence2() -> tuple[Any, Any]:
    tokenizer = byte_tokenizer(*(f"<loc_{index}>" for index in range(1000)), image_token="<image>")
    images = CLIPImageProcessorPil(
        size={"height": 64, "width": 64}, crop_size={"height": 64, "width": 64}, do_center_crop=False
    )
    images.image_seq_length = 5
    config = Florence2Config(
        vision_config={
            "embed_dim": [8, 16],
            "depths": [1, 1],
            "num_heads": [1, 2],
            "num_groups": [1, 2],
            "patch_size": [7, 3],
            "patch_stride": [8, 4],
            "patch_padding": [3, 1],
            "patch_prenorm": [False, True],
            "window_size": 2,
            "projection_dim": 32,
            "max_temporal_embeddings": 5,
            "max_position_embeddings": 8,
        },
        text_config={
            "model_type": "bart",
            "vocab_size": len(tokenizer),
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "max_position_embeddings": 512,
            "init_std": 0.4,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
            "forced_eos_token_id": 2,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return build(Florence2ForConditionalGeneration, config), Florence2Processor(images, tokenizer)


def llava() -> tuple[Any, Any]:
    tokenizer = byte_tokenizer(image_token="<image>")
    side = {"height": 28, "width": 28}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=side),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE.replace("IMAGE_MARK", "<image>\n"),
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=28,
            patch_size=14,
        ).to_dict(),
        text_config=LlamaConfig(**TEXT, vocab_size=len(tokenizer)).to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return build(LlavaForConditionalGeneration, config), processor


MAKERS = {"qwen2_5_vl": qwen2_5_vl, "internvl": internvl, "florence2": florence2, "llava": llava}


def build(model_class: Any, config: Any) -> Any:
    torch.manual_seed(0)
    return model_class(config).eval()


def save_checkpoint(name: str, folder: Path) -> Path:
    """Save a tiny checkpoint, as it is on the Hub."""
    model, processor = MAKERS[name]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder

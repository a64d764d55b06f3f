# SPDX-License-Identifier: Apache-2.0
"""What `PipelineTesterMixin` runs for a task: the source distribution of Transformers has no `tests/pipelines`."""

from typing import Any

from PIL import Image
from transformers import ImageTextToTextPipeline, PreTrainedTokenizerBase

from geodit.processing.processing_geodit import GeoDiTProcessor


class ImageTextToTextTests:
    """Chats and plain prompts, one and several, with an image each."""

    def get_test_pipeline(
        self, model: Any, tokenizer: PreTrainedTokenizerBase, *, image_processor: Any, dtype: str
    ) -> tuple[ImageTextToTextPipeline, list[Any]]:
        """Make the pipeline, and examples of what it takes."""
        processor = GeoDiTProcessor.from_pretrained(model.name_or_path)
        pipeline = ImageTextToTextPipeline(model=model, processor=processor, dtype=dtype, max_new_tokens=6)
        image = Image.linear_gradient("L").resize((40, 30))
        return pipeline, [self.chat(image, "Detect: ship."), self.chat(image, "Describe the image.")]

    def chat(self, image: Image.Image, question: str) -> list[dict[str, Any]]:
        """A conversation of one question about one image."""
        content = [{"type": "image", "image": image}, {"type": "text", "text": question}]
        return [{"role": "user", "content": content}]

    def run_pipeline_test(self, pipeline: Any, examples: list[Any]) -> None:
        """Ask, one by one and together, and compare."""
        alone = [pipeline(text=chat, return_full_text=False) for chat in examples]
        together = pipeline(text=examples, return_full_text=False)
        assert [answers[0]["generated_text"] for answers in alone] == [
            answers[0]["generated_text"] for answers in together
        ]
        # Up to Transformers 5.20 these take the place of what the pipeline was made with.
        generating = {"do_sample": False, "num_beams": 1, "max_new_tokens": 6}
        options: dict[str, Any] = {"generate_kwargs": generating, "stop_sequence": "?!"}
        assert pipeline(text=examples[0], return_full_text=False, **options) == alone[0]
        whole = pipeline(text=examples[0])
        assert whole[0]["generated_text"][-1]["role"] == "assistant"
        image = examples[0][0]["content"][0]["image"]
        plain = pipeline(images=image, text=f"{pipeline.processor.image_token}Detect: ship.", return_full_text=False)
        assert isinstance(plain[0]["generated_text"], str)

# SPDX-License-Identifier: Apache-2.0
"""The patterns of answers that a processor makes for its tokenizer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodit.modeling_geodit.patterns_geodit import BoxListPattern, CanvasLogits
from geodit.processing import answer_patterns
from geodit.processing.answer_patterns import AnswerPatterns, build_answer_pattern
from geodit.processing.boxes_geodit import BOX_FORMATS
from geodit.processing.processing_geodit import GeoDiTProcessor
from geodit.processing.tasks_geodit import Task

CHOICES = ["harbor", "storage tank", "storage", "yes", "Straße 海"]

TASKS = {
    "detect": Task("detect", "Detect: {query}.", 70, "boxes"),
    "ground": Task("ground", "Locate: {query}.", 3, "boxes"),
    "vqa": Task("vqa", "{query}", 8),
}


@pytest.fixture(scope="module", params=BOX_FORMATS)
def of_format(request, image_processor, tokenizer):
    """A processor of each box format, and its patterns."""
    if request.param != "location_tokens":
        pytest.importorskip("outlines_core")
    processor = GeoDiTProcessor(image_processor, tokenizer, num_image_tokens=4, box_format=request.param, tasks=TASKS)
    return processor, AnswerPatterns(processor)


def without_outlines_core(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def propose(pattern, vocab_size, length, favorite=(), seed=0):
    """The canvas that is proposed when nothing is committed."""
    nothing = torch.zeros(1, length, dtype=torch.long)
    logits = 3 * torch.randn(length, vocab_size, generator=torch.Generator().manual_seed(seed))
    for place, token in enumerate(favorite):
        logits[place, token] += 50
    return pattern.propose(CanvasLogits(logits, nothing == 0, nothing == 0, nothing)).tokens[0].tolist()


class TestChoices:
    @pytest.mark.parametrize("choice", CHOICES)
    def test_each_can_be_the_answer_as_it_is_written_in_training(self, processor, choice):
        canvas = processor.encode_answer(choice, 12)
        pattern = processor.choices_pattern([f" {one} " for one in CHOICES])
        assert propose(pattern, len(processor.tokenizer), 12, favorite=canvas) == canvas

    @given(seed=st.integers(0, 2**20), length=st.integers(2, 9))
    def test_nothing_else_is_the_answer(self, processor, seed, length):
        canvas = propose(processor.choices_pattern(CHOICES), len(processor.tokenizer), length, seed=seed)
        assert processor.decode_canvas(canvas) in CHOICES

    @pytest.mark.parametrize(
        ("choices", "message"),
        [
            ([], "one or more strings"),
            ("harbor", "one or more strings"),
            (["yes", 2], "one or more strings"),
            (["yes", " "], "is empty"),
            (["yes", "a<|endoftext|>b"], "special token"),
            (["yes", "an exceedingly long answer"], "tokens, but an answer at most 4"),
        ],
    )
    def test_what_can_be_no_answer_is_refused(self, processor, choices, message):
        with pytest.raises(ValueError, match=message):
            processor.choices_pattern(choices, canvas_length=4)


class TestTasks:
    def test_boxes_have_a_pattern_and_texts_have_none(self, processor):
        assert processor.answer_pattern("vqa") is None
        assert processor.answer_pattern("detect").min_length == 1  # "none"

    @given(seed=st.integers(0, 2**20), length=st.integers(1, 13))
    def test_answers_by_boxes_are_always_understood(self, processor, seed, length):
        canvas = propose(processor.answer_pattern("detect"), len(processor.tokenizer), length, seed=seed)
        answer = processor.post_process_generation(processor.decode_canvas(canvas), "detect", (64, 64), "ship")
        assert answer["parsed"]
        assert len(answer["boxes"]) <= length // 4
        assert answer["boxes"] or answer["text"] == "none"

    @pytest.mark.parametrize("query", ["ship, harbor", "ship;harbor", " ship ,harbor; tank"])
    def test_several_classes_have_labels_for_which_there_is_no_place(self, processor, query):
        assert processor.answer_pattern("detect", query) is None
        assert build_answer_pattern(processor, "detect", query) is None

    @pytest.mark.parametrize("query", ["", "ship", "ship,", "; storage tank ;"])
    def test_one_class_has_a_pattern(self, processor, query):
        assert isinstance(processor.answer_pattern("detect", query), BoxListPattern)
        assert isinstance(build_answer_pattern(processor, "detect", query), BoxListPattern)


class TestBuildAnswerPattern:
    @given(seed=st.integers(0, 2**20))
    def test_boxes_of_every_format_are_understood_unless_they_have_no_area(self, of_format, seed):
        processor, patterns = of_format
        canvas = propose(patterns.find("detect", "ship"), len(processor.tokenizer), 70, seed=seed)
        text = processor.decode_canvas(canvas)
        answer = processor.post_process_generation(text, "detect", (64, 64), "ship")
        boxes = len(processor.box_codec.box_ends(text))
        assert (boxes > 0) != (text == "none")
        assert answer["parsed"] == (len(answer["boxes"]) == boxes)
        if processor.box_format == "location_tokens":
            assert answer["parsed"]

    @pytest.mark.parametrize("boxes", [[], [[0, 0, 64, 64]], [[3, 8, 20, 12], [40, 2, 64, 64]]])
    def test_an_answer_as_in_training_can_be_proposed(self, of_format, boxes):
        processor, patterns = of_format
        canvas = processor.encode_answer(processor.format_answer("detect", boxes=boxes, image_size=(64, 64)), 70)
        proposed = propose(patterns.find("detect", "ship"), len(processor.tokenizer), 70, favorite=canvas)
        assert proposed == canvas

    def test_any_text_may_be_the_answer(self, of_format):
        processor, patterns = of_format
        assert build_answer_pattern(processor, "vqa", "How many?") is None
        assert build_answer_pattern(processor, "detect", "ship", structured=False) is None
        assert patterns.find("detect", "ship; harbor") is None
        assert patterns.find("vqa", choices=["yes"], structured=False).min_length == 1

    def test_a_canvas_without_room_for_a_box_is_refused(self, of_format):
        _, patterns = of_format
        with pytest.raises(ValueError, match="an answer to ground has at most 3: give the task a larger max_new_tok"):
            patterns.find("ground", "the ship")
        assert patterns.find("ground", "the ship", structured=False) is None

    @pytest.mark.parametrize("of_format", ["integers_100"], indirect=True)
    def test_what_was_compiled_is_kept(self, of_format):
        processor, patterns = of_format
        assert patterns.find("detect", "ship") is patterns.find("detect", "tank")
        assert AnswerPatterns(processor).find("detect", "ship") is not patterns.find("detect", "ship")

    def test_few_compiled_expressions_are_kept(self, processor, monkeypatch):
        pytest.importorskip("outlines_core")
        monkeypatch.setattr(answer_patterns, "_MAX_COMPILED", 2)
        compiled = {}
        for expression in ("a", "b", "a", "c"):
            assert build_answer_pattern(processor, "vqa", expression=expression, compiled=compiled).min_length == 1
        assert list(compiled) == ["b", "c"]

    def test_unknown_tasks_are_refused(self, processor):
        for given_ in ({}, {"choices": ["a"]}, {"expression": "a"}):
            with pytest.raises(ValueError, match="Unknown task 'segment'"):
                build_answer_pattern(processor, "segment", **given_)


class TestWithoutOutlinesCore:
    def test_boxes_in_numbers_have_none_and_it_is_said_once(self, of_format, monkeypatch):
        processor, _ = of_format
        warnings = []
        monkeypatch.setattr(answer_patterns.logger, "warning", warnings.append)
        without_outlines_core(monkeypatch)
        patterns = AnswerPatterns(processor)
        found = [patterns.find("detect", query) for query in ("ship", "tank", "ship; tank")]
        if processor.box_format == "location_tokens":
            assert warnings == []
            assert isinstance(found[0], BoxListPattern)
            return
        assert found == [None] * 3
        (warning,) = warnings
        assert "pip install 'geodit[structured]'" in warning
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'geodit\[structured\]'"):
            build_answer_pattern(processor, "detect", "ship")

    def test_what_the_user_asks_for_is_not_left_out(self, processor, monkeypatch):
        without_outlines_core(monkeypatch)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'geodit\[structured\]'"):
            AnswerPatterns(processor).find("vqa", "How many?", expression="[0-9]+")

# SPDX-License-Identifier: Apache-2.0
"""Every answer is checked by readers of the questions that share no code with the generator."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict

import pytest

from geodit.data.schema import TASKS, Question
from geodit.tiny.scenes.questions import caption_references, referring_phrases, scene_questions
from geodit.tiny.scenes.scene import Scene, SceneObject, sample_scene

SINGULAR = {
    "ships": "ship",
    "aircraft": "aircraft",
    "tanks": "tank",
    "vehicles": "vehicle",
    "buildings": "building",
    "courts": "court",
    "trees": "tree",
}
NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
COLORS = ("white", "gray", "black", "red", "blue", "green", "yellow", "brown")

SCENES = [sample_scene(seed) for seed in range(1000, 1400)]
QUESTIONS = [
    (scene, question)
    for number, scene in enumerate(SCENES)
    for question in scene_questions(scene, random.Random(number))
]


def asked(task: str, kind: str | None = None) -> list[tuple[Scene, Question]]:
    return [(s, q) for s, q in QUESTIONS if q.task == task and kind in (None, q.kind)]


def resolve_phrase(scene: Scene, phrase: str) -> list[SceneObject]:
    """All objects that anyone might take a phrase to mean, under every fair reading of it."""
    match = re.fullmatch(r"the (?:(\w+) )?(\w+?)(?: (?:in|at|on) the ([a-z ]+))?", phrase)
    assert match is not None, phrase
    adjective, label, region = match.groups()
    group = [obj for obj in scene.objects if obj.label == label]
    assert group, phrase
    side = scene.image_size

    def box_area(obj: SceneObject) -> float:
        x1, y1, x2, y2 = obj.box
        return (x2 - x1) * (y2 - y1)

    if region is not None:
        words = set(region.split())
        assert words <= {"top", "bottom", "left", "right", "center"}
        assert adjective is None
        thirds = {"left": (0, 0), "right": (0, 2), "top": (1, 0), "bottom": (1, 2)}
        found = []
        for obj in group:
            cells = [int(3 * value / side) for value in obj.center]
            if words == {"center"}:
                inside = cells == [1, 1]
            else:
                # The wide reading: "on the left" is the whole left third.
                inside = all(cells[thirds[word][0]] == thirds[word][1] for word in words)
            if inside:
                found.append(obj)
        return found
    if adjective is None:
        return group
    if adjective in COLORS:
        return [obj for obj in group if obj.color == adjective]
    best = {
        "largest": [max(group, key=box_area), max(group, key=lambda obj: obj.area)],
        "smallest": [min(group, key=box_area), min(group, key=lambda obj: obj.area)],
        "leftmost": [min(group, key=lambda obj: obj.center[0]), min(group, key=lambda obj: obj.box[0])],
        "rightmost": [max(group, key=lambda obj: obj.center[0]), max(group, key=lambda obj: obj.box[2])],
        "topmost": [min(group, key=lambda obj: obj.center[1]), min(group, key=lambda obj: obj.box[1])],
        "bottommost": [max(group, key=lambda obj: obj.center[1]), max(group, key=lambda obj: obj.box[3])],
    }[adjective]
    return [obj for obj in group if any(obj is other for other in best)]


def test_every_phrase_means_exactly_one_object_under_every_reading() -> None:
    sorts = Counter()
    for scene in SCENES:
        for sort, phrase, obj in referring_phrases(scene):
            assert resolve_phrase(scene, phrase) == [obj], (scene.seed, phrase)
            sorts[sort] += 1
    assert set(sorts) == {"class", "color", "size", "position", "region"}


def test_extremes_are_clear_ones() -> None:
    for scene in SCENES:
        for sort, phrase, obj in referring_phrases(scene):
            rest = [other for other in scene.objects if other.label == obj.label and other is not obj]
            if sort == "position":
                axis = 0 if "left" in phrase or "right" in phrase else 1
                assert min(abs(other.center[axis] - obj.center[axis]) for other in rest) >= 6
            if phrase.startswith("the largest"):
                assert all(obj.area >= 1.25 * other.area for other in rest)
            if phrase.startswith("the smallest"):
                assert all(1.25 * obj.area <= other.area for other in rest)


def test_grounding_asks_for_the_box_of_the_object_meant() -> None:
    for scene, question in asked("ground"):
        (obj,) = resolve_phrase(scene, question.query)
        assert question.boxes == (obj.box,)
        assert question.labels == (obj.label,)
    assert len(asked("ground")) > 2.5 * len(SCENES)


def test_detection_gives_all_objects_of_a_class_from_left_to_right() -> None:
    for scene, question in asked("detect"):
        expected = [obj.box for obj in scene.objects if obj.label == question.query]
        assert sorted(question.boxes) == sorted(expected)
        assert list(question.boxes) == sorted(question.boxes, key=lambda box: (box[0], box[1]))
        assert set(question.labels) <= {question.query}
    absent = sum(not question.boxes for _, question in asked("detect")) / len(asked("detect"))
    assert 0.10 < absent < 0.20


def test_counts_are_right_and_well_spread() -> None:
    answers = Counter()
    for scene, question in asked("vqa", "count"):
        match = re.fullmatch(r"How many (\w+) are there\?", question.query)
        assert match is not None
        expected = sum(obj.label == SINGULAR[match[1]] for obj in scene.objects)
        assert question.answer == str(expected)
        answers[expected] += 1
    assert set(answers) == set(range(8))
    assert max(answers.values()) < 0.3 * sum(answers.values())
    assert answers[0] < 0.2 * sum(answers.values())


def test_presence_is_right_and_balanced() -> None:
    answers = Counter()
    for scene, question in asked("vqa", "presence"):
        match = re.fullmatch(r"Is there an? (\w+)\?", question.query)
        assert match is not None
        there = any(obj.label == match[1] for obj in scene.objects)
        assert question.answer == ("yes" if there else "no")
        answers[question.answer] += 1
    assert 0.4 < answers["yes"] / sum(answers.values()) < 0.6


def test_comparison_is_right_balanced_and_never_of_equal_counts() -> None:
    answers = Counter()
    for scene, question in asked("vqa", "compare"):
        match = re.fullmatch(r"Are there more (\w+) than (\w+)\?", question.query)
        assert match is not None
        first, second = (sum(obj.label == SINGULAR[word] for obj in scene.objects) for word in match.groups())
        assert first != second
        assert question.answer == ("yes" if first > second else "no")
        answers[question.answer] += 1
    assert 0.4 < answers["yes"] / sum(answers.values()) < 0.6


@pytest.mark.parametrize(("kind", "most"), [("count", 0.35), ("presence", 0.70), ("compare", 0.75)])
def test_the_question_alone_does_not_give_its_answer_away(kind: str, most: float) -> None:
    """The best that can be done without looking at the image: each question's most frequent answer."""
    answers: dict[str, Counter] = defaultdict(Counter)
    for _, question in asked("vqa", kind):
        answers[question.query][question.answer] += 1
    blind = sum(max(counter.values()) for counter in answers.values())
    assert blind / len(asked("vqa", kind)) < most


def test_every_caption_states_the_type_and_the_most_frequent_classes() -> None:
    for scene in SCENES:
        for caption in caption_references(scene):
            assert scene.scene_type in caption
            stated = dict.fromkeys(label for label in SINGULAR.values() if scene.count(label) and label in caption)
            counts = sorted((scene.count(label) for label in SINGULAR.values()), reverse=True)
            assert sorted((scene.count(label) for label in stated), reverse=True) == [c for c in counts[:3] if c]
            for number, noun in re.findall(r"(one|two|three|four|five|six|seven) (\w+)", caption):
                assert scene.count(SINGULAR.get(noun, noun)) == NUMBERS[number], caption
            assert len(caption.replace(",", " ,").split()) <= 16


def test_the_canonical_caption_is_one_template_in_one_order() -> None:
    for scene, question in asked("caption"):
        assert question.references[0] == question.answer
        assert len(set(question.references)) == len(question.references) == 5
        assert len(question.answer.replace(",", " ,").split()) <= 14
        numbers = [NUMBERS[word] for word in re.findall("|".join(NUMBERS), question.answer)]
        assert numbers == sorted(numbers, reverse=True)
        assert question.answer.startswith(("a ", "an ", "empty ", scene.scene_type))


def test_classification_is_the_type() -> None:
    assert all(question.answer == scene.scene_type for scene, question in asked("classify"))
    assert len(asked("classify")) == len(SCENES)


def test_no_question_is_asked_twice() -> None:
    for number, scene in enumerate(SCENES[:100]):
        questions = scene_questions(scene, random.Random(number), dict.fromkeys(TASKS, 20))
        assert len({(question.task, question.query) for question in questions}) == len(questions)


def test_the_number_of_questions_can_be_set_per_task() -> None:
    questions = scene_questions(SCENES[0], random.Random(0), {"vqa": 2, "classify": 1})
    assert [question.task for question in questions] == ["vqa", "vqa", "classify"]
    assert scene_questions(SCENES[0], random.Random(0), {"caption": 0}) == []


def test_questions_follow_from_the_seed() -> None:
    assert scene_questions(SCENES[0], random.Random(4)) == scene_questions(SCENES[0], random.Random(4))


def test_an_empty_scene_can_be_asked_about() -> None:
    empty = next(scene for seed in range(2000) if not (scene := sample_scene(seed)).objects)
    questions = scene_questions(empty, random.Random(0), dict.fromkeys(TASKS, 5))
    assert "ground" not in {question.task for question in questions}
    assert all(not question.boxes for question in questions)
    assert all(question.answer in ("0", "no") for question in questions if question.task == "vqa")
    assert "empty" in caption_references(empty)[0]


def test_bad_numbers_of_questions_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown tasks \['segment'\].*caption, ground"):
        scene_questions(SCENES[0], random.Random(0), {"segment": 1})
    with pytest.raises(ValueError, match="must not be negative"):
        scene_questions(SCENES[0], random.Random(0), {"vqa": -1})

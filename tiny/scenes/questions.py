# SPDX-License-Identifier: Apache-2.0
"""Questions about a synthetic scene, with exact answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from geodit.data.schema import TASKS, Question
from geodit.tiny.scenes.scene import REFERENCE_SIZE, Scene, SceneObject
from geodit.tiny.scenes.vocabulary import counted, label_names, plural, with_article

DEFAULT_QUESTIONS_PER_TASK: Mapping[str, int] = {
    "caption": 1,
    "ground": 3,
    "detect": 3,
    "vqa": 3,
    "classify": 1,
}

# An extreme is asked for only where nobody would doubt it: this many pixels of a reference image ahead of the
# next object, or this many times its area.
_POSITION_MARGIN = 6.0
_AREA_RATIO = 1.25
# A region is a ninth of the image. Objects within this many pixels of its border count as neither in nor out.
_REGION_MARGIN = 3.0
_ABSENT_DETECT = 0.12
_ZERO_COUNT = 0.10
_CAPTION_CLASSES = 3

_REGIONS = (
    ("in the top left", "at the top", "in the top right"),
    ("on the left", "in the center", "on the right"),
    ("in the bottom left", "at the bottom", "in the bottom right"),
)
# Share of the scenes that have each class, to ask about every class as often with "yes" as with "no": else
# "Is there a court?" could be answered without looking.
_PRESENT_SHARE = {
    "ship": 0.24,
    "aircraft": 0.13,
    "tank": 0.21,
    "vehicle": 0.53,
    "building": 0.48,
    "court": 0.13,
    "tree": 0.51,
}


def caption_references(scene: Scene) -> tuple[str, ...]:
    """Return captions of a scene, the canonical one first.

    The canonical caption is a function of what can be seen: the type of the scene and its (up to three) most
    frequent classes with their counts, by descending count and then by name. The others say the same.
    """
    place = with_article(scene.scene_type)
    ranked = sorted((-scene.count(label), label) for label in label_names if scene.count(label))
    if not ranked:
        empty = with_article(scene.scene_type, "empty")
        return (
            empty,
            f"{place} without objects",
            f"an aerial view of {empty}",
            f"there is nothing in {place}",
            f"{empty} seen from above",
        )
    parts = [counted(-count, label) for count, label in ranked[:_CAPTION_CLASSES]]
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    verb = "is" if ranked[0][0] == -1 else "are"
    return (
        f"{place} with {listed}",
        f"{listed} in {place}",
        f"there {verb} {listed} in {place}",
        f"an aerial view of {place} with {listed}",
        f"{place} containing {listed}",
    )


def referring_phrases(scene: Scene) -> list[tuple[str, str, SceneObject]]:
    """Return all phrases that refer to exactly one object.

    Returns:
        Triples (sort, phrase, object). The sorts are "class" ("the ship"), "color" ("the red ship"), "size"
        ("the largest ship"), "position" ("the leftmost ship") and "region" ("the ship in the top left", one
        of 3 x 3 regions).
    """
    phrases: list[tuple[str, str, SceneObject]] = []
    scale = scene.image_size / REFERENCE_SIZE
    for label in label_names:
        group = [obj for obj in scene.objects if obj.label == label]
        if len(group) == 1:
            phrases.append(("class", f"the {label}", group[0]))
        colors = [obj.color for obj in group]
        if label != "tree":
            phrases += [("color", f"the {obj.color} {label}", obj) for obj in group if colors.count(obj.color) == 1]
        if len(group) > 1:
            phrases += _extremes(label, group, _POSITION_MARGIN * scale)
        phrases += _regions(label, group, scene.image_size / 3, _REGION_MARGIN * scale)
    return phrases


def _extremes(label: str, group: list[SceneObject], margin: float) -> list[tuple[str, str, SceneObject]]:
    found = []
    by_area = sorted(group, key=lambda obj: obj.area)
    for adjective, first, second in (
        ("smallest", by_area[0], by_area[1]),
        ("largest", by_area[-1], by_area[-2]),
    ):
        small, large = (first, second) if adjective == "smallest" else (second, first)
        # By the outline, and by the box too: the eye may go by either.
        if large.area >= _AREA_RATIO * small.area and all(
            _box_area(first) * _AREA_RATIO <= _box_area(obj)
            if adjective == "smallest"
            else _box_area(first) >= _AREA_RATIO * _box_area(obj)
            for obj in group
            if obj is not first
        ):
            found.append(("size", f"the {adjective} {label}", first))
    for adjective, axis, sign in (
        ("leftmost", 0, 1),
        ("rightmost", 0, -1),
        ("topmost", 1, 1),
        ("bottommost", 1, -1),
    ):
        by_center = sorted(group, key=lambda obj: sign * obj.center[axis])
        first, second = by_center[0], by_center[1]
        edge = axis if sign == 1 else axis + 2
        if sign * (second.center[axis] - first.center[axis]) >= margin and all(
            sign * first.box[edge] < sign * obj.box[edge] for obj in by_center[1:]
        ):
            found.append(("position", f"the {adjective} {label}", first))
    return found


def _regions(label: str, group: list[SceneObject], side: float, margin: float) -> list[tuple[str, str, SceneObject]]:
    found = []
    for row in range(3):
        for column in range(3):
            x_home, y_home = (column * side, (column + 1) * side), (row * side, (row + 1) * side)
            # "On the left" may be said of the corners too, so that none of its kind may stand there.
            x_rival = (0.0, 3 * side) if column == 1 and row != 1 else x_home
            y_rival = (0.0, 3 * side) if row == 1 and column != 1 else y_home
            rivals = [obj for obj in group if _within(obj, x_rival, y_rival, margin)]
            if len(rivals) == 1 and _within(rivals[0], x_home, y_home, -margin):
                found.append(("region", f"the {label} {_REGIONS[row][column]}", rivals[0]))
    return found


def _within(obj: SceneObject, x_range: tuple[float, float], y_range: tuple[float, float], margin: float) -> bool:
    x, y = obj.center
    return x_range[0] - margin <= x <= x_range[1] + margin and y_range[0] - margin <= y <= y_range[1] + margin


def _box_area(obj: SceneObject) -> float:
    x1, y1, x2, y2 = obj.box
    return (x2 - x1) * (y2 - y1)


def _caption(scene: Scene, rng: random.Random, number: int) -> list[Question]:
    references = caption_references(scene)
    return [Question("caption", answer=references[0], references=references)][:number]


def _classify(scene: Scene, rng: random.Random, number: int) -> list[Question]:
    return [Question("classify", answer=scene.scene_type)][:number]


def _ground(scene: Scene, rng: random.Random, number: int) -> list[Question]:
    by_sort: dict[str, list[tuple[str, SceneObject]]] = {}
    for sort, phrase, obj in referring_phrases(scene):
        by_sort.setdefault(sort, []).append((phrase, obj))
    questions: list[Question] = []
    while by_sort and len(questions) < number:
        sort = rng.choice(sorted(by_sort))
        phrase, obj = by_sort[sort].pop(rng.randrange(len(by_sort[sort])))
        if not by_sort[sort]:
            del by_sort[sort]
        questions.append(Question("ground", query=phrase, boxes=(obj.box,), labels=(obj.label,)))
    return questions


def _detect(scene: Scene, rng: random.Random, number: int) -> list[Question]:
    present = [label for label in label_names if scene.count(label)]
    absent = [label for label in label_names if not scene.count(label)]
    rng.shuffle(present)
    questions: list[Question] = []
    for _ in range(number):
        # A scene of few classes is not filled up with absent ones, whose share would grow.
        if rng.random() < _ABSENT_DETECT:
            if not absent:
                continue
            # Every class is looked for in vain about as often, in proportion to how often it is there.
            odds = [_PRESENT_SHARE[label] / (1 - _PRESENT_SHARE[label]) for label in absent]
            label = rng.choices(absent, odds)[0]
            absent.remove(label)
        elif present:
            label = present.pop()
        else:
            continue
        boxes = tuple(obj.box for obj in scene.objects if obj.label == label)
        questions.append(Question("detect", query=label, boxes=boxes, labels=(label,) * len(boxes)))
    return questions


def _count_question(scene: Scene, rng: random.Random) -> Question | None:
    present = [label for label in label_names if scene.count(label)]
    absent = [label for label in label_names if not scene.count(label)]
    if not present or rng.random() < _ZERO_COUNT:
        label = rng.choice(absent)
    else:
        # High counts are rarer in the scenes, so they are asked for more often.
        label = rng.choices(present, [scene.count(label) ** 1.5 for label in present])[0]
    query = f"How many {plural(label)} are there?"
    return Question("vqa", query=query, answer=str(scene.count(label)), kind="count")


def _presence_question(scene: Scene, rng: random.Random) -> Question | None:
    wanted = rng.random() < 0.5
    pool = [label for label in label_names if bool(scene.count(label)) == wanted]
    if not pool:
        return None
    shares = [_PRESENT_SHARE[label] if wanted else 1 - _PRESENT_SHARE[label] for label in pool]
    label = rng.choices(pool, [1 / share for share in shares])[0]
    query = f"Is there {with_article(label)}?"
    return Question("vqa", query=query, answer="yes" if wanted else "no", kind="presence")


def _compare_question(scene: Scene, rng: random.Random) -> Question | None:
    """Compare two counts that differ and are not both zero; two present classes are preferred."""
    present = [label for label in label_names if scene.count(label)]
    pairs = [(a, b) for a in present for b in present if scene.count(a) > scene.count(b)]
    if not pairs or rng.random() < 0.2:
        pairs = [(a, b) for a in present for b in label_names if not scene.count(b)]
    if not pairs:
        return None
    more, fewer = rng.choice(pairs)
    wanted = rng.random() < 0.5
    first, second = (more, fewer) if wanted else (fewer, more)
    query = f"Are there more {plural(first)} than {plural(second)}?"
    return Question("vqa", query=query, answer="yes" if wanted else "no", kind="compare")


_VQA: dict[str, Callable[[Scene, random.Random], Question | None]] = {
    "count": _count_question,
    "presence": _presence_question,
    "compare": _compare_question,
}


def _vqa(scene: Scene, rng: random.Random, number: int) -> list[Question]:
    kinds = list(_VQA)
    rng.shuffle(kinds)
    questions: list[Question] = []
    for k in range(number):
        question = _VQA[kinds[k % len(kinds)]](scene, rng)
        if question is not None and all(question.query != other.query for other in questions):
            questions.append(question)
    return questions


_TASKS: dict[str, Callable[[Scene, random.Random, int], list[Question]]] = {
    "caption": _caption,
    "ground": _ground,
    "detect": _detect,
    "vqa": _vqa,
    "classify": _classify,
}


def scene_questions(
    scene: Scene, rng: random.Random, questions_per_task: Mapping[str, int] | None = None
) -> list[Question]:
    """Ask about a scene.

    Args:
        scene: The scene.
        rng: Which questions are asked; the answers are facts of the scene.
        questions_per_task: The most questions of each task; tasks that are left out are not asked about.
            `DEFAULT_QUESTIONS_PER_TASK` by default. There are fewer where the scene has no more to ask
            about: no question is asked twice, and there is one caption and one type of scene.

    Returns:
        Questions in the order of `TASKS`:

        * caption: the canonical caption of `caption_references`, with all of them as references.
        * ground: one of `referring_phrases`, and the box of the one object it refers to.
        * detect: a class name, and the boxes of all its objects from left to right by (x1, y1). Some 15% of
          these questions are about a class that is absent, and have no box.
        * vqa: kind "count" ("How many ships are there?", in digits), "presence" ("Is there a ship?") and
          "compare" ("Are there more ships than buildings?", of unequal counts), in equal shares, yes and no
          alike.
        * classify: the type of the scene.

    Raises:
        ValueError: If a task is unknown or a number is negative.
    """
    wanted = DEFAULT_QUESTIONS_PER_TASK if questions_per_task is None else questions_per_task
    unknown = sorted(set(wanted) - set(TASKS))
    if unknown:
        raise ValueError(f"unknown tasks {unknown} in questions_per_task; the tasks are {', '.join(TASKS)}")
    if any(number < 0 for number in wanted.values()):
        raise ValueError(f"questions_per_task must not be negative, got {dict(wanted)}")
    return [question for task in TASKS for question in _TASKS[task](scene, rng, wanted.get(task, 0))]

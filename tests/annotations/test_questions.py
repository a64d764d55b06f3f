# SPDX-License-Identifier: Apache-2.0
"""Questions of every task from the boxes of an image."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.annotations.phrases import referring_phrases
from geodit.annotations.questions import KnownImage, QuestionMaker, QuestionNumbers, class_shares
from geodit.annotations.records import LabeledObject, TextAnswer
from geodit.annotations.templates import Templates
from geodit.annotations.words import ClassWords
from geodit.data.schema import TASKS

SIZE = (100, 100)


def thing(label, x, y, side=10.0, **more):
    return LabeledObject(label, (x, y, x + side, y + side), **more)


HARBOR = (
    thing("ship", 5, 40),
    thing("ship", 40, 44),
    thing("ship", 80, 42, 14),
    thing("storage tank", 20, 5),
)


def asked(task, image, **options):
    maker = QuestionMaker(("ship", "storage tank", "bus"), **options)
    return [question for question in maker.questions(image) if question.task == task]


class TestWords:
    def test_forms(self):
        words = ClassWords()
        assert [words.plural(one) for one in ("ship", "aircraft", "church", "storage tank", "bus")] == [
            "ships",
            "aircraft",
            "churches",
            "storage tanks",
            "buses",
        ]
        assert words.with_article("airplane") == "an airplane"
        assert [words.counted(count, "ship") for count in (0, 1, 3, 12)] == [
            "no ships",
            "one ship",
            "three ships",
            "12 ships",
        ]

    def test_a_class_that_is_named_in_the_plural(self):
        words = ClassWords()
        assert (words.singular("vehicles"), words.plural("vehicles")) == ("vehicle", "vehicles")
        assert words.with_article("trees") == "a tree"
        assert words.singular("bus") == "bus"

    def test_the_user_knows_better(self):
        assert ClassWords({"octopus": "octopodes"}).plural("octopus") == "octopodes"


class TestDetection:
    def test_every_class_that_is_there_and_one_that_is_not(self):
        questions = asked("detect", KnownImage("a", SIZE, HARBOR))
        assert [(one.query, len(one.boxes)) for one in questions] == [("ship", 3), ("storage tank", 1), ("bus", 0)]
        assert questions[0].boxes == tuple(one.box for one in HARBOR[:3])

    def test_of_a_class_that_is_only_partly_known_nothing_is_asked(self):
        image = KnownImage("a", SIZE, HARBOR, partial=frozenset({"ship", "bus"}))
        for question in QuestionMaker(("ship", "storage tank", "bus")).questions(image):
            assert "ship" not in question.query + question.answer
            assert "bus" not in question.query

    def test_of_a_class_that_an_edge_cuts_what_is_seen_is_asked_for_and_nothing_is_counted(self):
        image = KnownImage("a", SIZE, HARBOR, cut=frozenset({"ship", "bus"}))
        questions = QuestionMaker(("ship", "storage tank", "bus")).questions(image)
        assert [(one.query, len(one.boxes)) for one in questions if one.task == "detect"] == [
            ("ship", 3),
            ("storage tank", 1),
        ]
        assert not any(
            "ship" in one.query + one.answer or "bus" in one.query for one in questions if one.task != "detect"
        )

    def test_nothing_is_absent_where_nobody_has_looked(self):
        image = KnownImage("a", SIZE, category="harbor", is_searched=False)
        tasks = {question.task for question in QuestionMaker(("ship",)).questions(image)}
        assert tasks == {"caption", "classify"}

    def test_a_frequent_class_is_looked_for_in_vain_more_often(self):
        found = Counter(
            asked("detect", KnownImage(str(number), SIZE), shares={"ship": 0.8, "storage tank": 0.2, "bus": 0.2})[
                0
            ].query
            for number in range(300)
        )
        assert found["ship"] > 2 * found["bus"]


class TestGrounding:
    def test_phrases_refer_to_one_object(self):
        phrases = {one.text: one.target for one in referring_phrases(HARBOR, SIZE, ClassWords())}
        assert phrases["the storage tank"] is HARBOR[3]
        assert phrases["the leftmost ship"] is phrases["the ship on the left"] is HARBOR[0]
        assert phrases["the largest ship"] is phrases["the rightmost ship"] is HARBOR[2]
        assert phrases["the second ship from the left"] is HARBOR[1]
        assert "the ship" not in phrases
        # Two are of one size, and no ship is above the others by much.
        assert "the smallest ship" not in phrases
        assert "the topmost ship" not in phrases

    def test_a_phrase_of_the_source_comes_first(self):
        objects = (*HARBOR, thing("bus", 60, 80, phrase="the red bus at the pier"))
        questions = asked("ground", KnownImage("a", SIZE, objects), numbers=QuestionNumbers(ground=1))
        assert [one.query for one in questions] == ["the red bus at the pier"]

    @given(
        st.lists(
            st.tuples(st.sampled_from("ab"), st.integers(0, 90), st.integers(0, 90), st.integers(2, 10)), max_size=8
        )
    )
    def test_no_phrase_is_ambiguous(self, rows):
        objects = [thing(label, x, y, side) for label, x, y, side in rows]
        phrases = referring_phrases(objects, SIZE, ClassWords())
        texts = [phrase.text for phrase in phrases]
        assert len(texts) == len(set(texts))
        for phrase in phrases:
            if phrase.sort == "size":
                areas = [(o.box[2] - o.box[0]) ** 2 for o in objects if o.label == phrase.target.label]
                side = (phrase.target.box[2] - phrase.target.box[0]) ** 2
                assert areas.count(side) == 1
                assert side == (max(areas) if "largest" in phrase.text else min(areas))


class TestWording:
    def test_captions_count_and_name(self):
        (caption,) = asked("caption", KnownImage("a", SIZE, HARBOR, category="harbor"))
        assert caption.answer == "a harbor with three ships and one storage tank"
        assert "three ships and one storage tank in a harbor" in caption.references

    def test_the_captions_of_the_source_are_kept(self):
        (caption,) = asked("caption", KnownImage("a", SIZE, HARBOR, captions=("ships at a pier", "a pier")))
        assert caption.references == ("ships at a pier", "a pier")

    def test_answers_of_the_source_and_facts(self):
        image = KnownImage("a", SIZE, HARBOR, answers=(TextAnswer("What is it?", "a pier"),))
        questions = asked("vqa", image)
        assert questions[0].answer == "a pier"
        for question in questions[1:]:
            if question.kind == "count":
                assert question.answer == {"ships": "3", "storage tanks": "1", "buses": "0"}[question.query[9:-11]]
            if question.kind == "presence":
                assert question.answer == ("no" if "bus" in question.query else "yes")

    def test_templates_can_be_edited(self, tmp_path):
        path = tmp_path / "templates.yaml"
        path.write_text('count: "Count the {classes}."\ncaptions: ["{listed}, top view"]\n')
        templates = Templates.read(path)
        assert templates.presence == Templates.read().presence
        (caption,) = asked("caption", KnownImage("a", SIZE, HARBOR), templates=templates)
        assert caption.answer == "three ships and one storage tank, top view"
        assert any(
            one.query.startswith("Count the")
            for one in asked("vqa", KnownImage("a", SIZE, HARBOR), templates=templates)
        )

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("count: '{class.__class__}'", "has a place for class.__class__"),
            ("count: '{'", "is not a template"),
            ("counts: a", "is not a file of templates"),
            ("captions: []", "a list of at least one caption"),
            ("a: [", "is not YAML"),
        ],
    )
    def test_what_is_no_template_is_refused(self, tmp_path, text, reason):
        path = tmp_path / "templates.yaml"
        path.write_text(text)
        with pytest.raises(ValueError, match=reason):
            Templates.read(path)


def test_what_is_asked_depends_on_the_image_and_the_seed_alone():
    first, second = KnownImage("a", SIZE, HARBOR), KnownImage("b", SIZE, HARBOR)
    maker = QuestionMaker(("ship", "storage tank", "bus"))
    alone = maker.questions(second)
    maker.questions(first)
    assert maker.questions(second) == alone
    assert QuestionMaker(maker.classes, seed=1).questions(second) != alone


def test_tasks_can_be_chosen():
    image = KnownImage("a", SIZE, HARBOR, category="harbor")
    for task in TASKS:
        assert {one.task for one in QuestionMaker(("ship",), tasks=(task,)).questions(image)} == {task}
    with pytest.raises(ValueError, match="unknown tasks segment"):
        QuestionMaker(("ship",), tasks=("segment",))


def test_shares_of_classes():
    images = [KnownImage("a", SIZE, HARBOR), KnownImage("b", SIZE)]
    assert class_shares(images) == {"ship": 0.5, "storage tank": 0.5}


def test_turned_objects_are_asked_for_with_their_corners():
    corners = ((12.0, 20.0), (30.0, 28.0), (28.0, 33.0), (10.0, 25.0))
    turned = LabeledObject("ship", (10.0, 20.0, 30.0, 33.0), corners)
    image = KnownImage("a.png", SIZE, (thing("ship", 5, 40), turned))
    (question,) = [one for one in asked("detect", image) if one.query == "ship"]
    assert question.boxes == ((5, 40, 15.0, 50.0), turned.box)
    assert question.corners == (None, corners)
    phrases = asked("ground", image)
    assert phrases
    assert {question.corners for question in phrases} <= {(corners,), ()}
    assert all((one.corners == (corners,)) == (one.boxes == (turned.box,)) for one in phrases)
    assert all(one.corners == () for one in asked("detect", KnownImage("a.png", SIZE, HARBOR)))

# SPDX-License-Identifier: Apache-2.0
"""A stream of questions: the items of the map-style view, split by process, and the same again from any place on."""

import itertools
import json

import numpy as np
import pytest
from torch.utils.data import DataLoader

from geodit.data.augmentation import Augmentation
from geodit.data.schema import Question, QuestionDataset, make_dataset, make_row
from geodit.data.streaming import QuestionStream, StreamPosition

NUM_ROWS = 12


@pytest.fixture(scope="module")
def dataset():
    """Twelve images of one color each; every third has three questions, the others one."""
    rows = []
    for index in range(NUM_ROWS):
        questions = [Question("caption", answer=f"caption {index}")]
        if index % 3 == 0:
            questions += [Question("vqa", query=f"question {n}?", answer=str(index)) for n in range(2)]
        rows.append(make_row(np.full((4, 4, 3), index, dtype=np.uint8), f"image{index}", questions))
    return make_dataset(rows)


def stream_of(dataset, num_shards=4, **arguments):
    return QuestionStream(dataset.to_iterable_dataset(num_shards=num_shards), **{"block_size": 5, **arguments})


def names(items):
    return [(item["image_id"], item["question"].answer, item["question"].query) for item in items]


def take(stream, number):
    return list(itertools.islice(stream, number))


def test_a_pass_has_the_items_of_the_map_style_view(dataset):
    expected = list(QuestionDataset(dataset))
    items = take(stream_of(dataset, shuffle_seed=None), len(expected))
    assert names(items) == names(expected)
    assert [item["image"].tobytes() for item in items] == [item["image"].tobytes() for item in expected]
    assert [item["question_index"] for item in items[:4]] == [0, 1, 2, 0]


def test_the_next_pass_follows_in_another_order(dataset):
    length = len(QuestionDataset(dataset))
    items = names(take(stream_of(dataset), 2 * length))
    first, second = items[:length], items[length:]
    assert sorted(first) == sorted(second) == sorted(names(QuestionDataset(dataset)))
    assert first != second
    assert names(take(stream_of(dataset), 2 * length)) == items


def test_the_questions_of_an_image_can_come_together(dataset):
    items = take(stream_of(dataset, questions_per_row=2, shuffle_seed=None, tasks=["vqa"]), 4)
    assert [len(item["questions"]) for item in items] == [2, 2, 2, 2]
    assert [item["image_id"] for item in items] == ["image0", "image3", "image6", "image9"]
    assert [item["question_index"] for item in items] == [1, 1, 1, 1]


@pytest.mark.parametrize("num_shards", [4, 3])
def test_processes_share_the_rows(dataset, num_shards):
    """By shards, or by rows where the shards cannot be shared out evenly."""
    captions = []
    for rank in range(2):
        stream = stream_of(dataset, num_shards, tasks=["caption"]).split_by_process(rank, 2)
        captions.append(names(take(stream, NUM_ROWS // 2)))
    assert sorted(captions[0] + captions[1]) == sorted(names(take(stream_of(dataset, tasks=["caption"]), NUM_ROWS)))


def test_a_share_is_not_shared_again(dataset):
    with pytest.raises(ValueError, match="split over 2 processes already"):
        stream_of(dataset).split_by_process(0, 2).split_by_process(0, 2)


@pytest.mark.parametrize("number", range(0, 50, 7))
@pytest.mark.parametrize(("rank", "world_size"), [(0, 1), (1, 2), (1, 3)])
def test_it_goes_on_from_any_place(dataset, number, rank, world_size):
    """Also when the place is saved late, as a loader that reads ahead does, and when it is gone on from twice."""
    stream = stream_of(dataset, rank=rank, world_size=world_size)
    expected = names(take(stream, number + 30))
    position = json.loads(json.dumps(stream.position_at(number).to_dict()))

    resumed = stream_of(dataset, rank=rank, world_size=world_size)
    resumed.start_at(StreamPosition.from_dict(position))
    assert names(take(resumed, 30)) == expected[number:]

    again = stream_of(dataset, rank=rank, world_size=world_size)
    again.start_at(resumed.position_at(number + 11))
    assert names(take(again, 19)) == expected[number + 11 :]


def test_what_is_before_the_place_is_not_decoded(dataset, monkeypatch):
    stream = stream_of(dataset)
    take(stream, 40)
    resumed = stream_of(dataset)
    resumed.start_at(stream.position_at(37))
    decoded = []
    decode = QuestionStream._item
    monkeypatch.setattr(QuestionStream, "_item", lambda *args: decoded.append(args) or decode(*args))
    take(resumed, 2)
    assert len(decoded) == 2


def test_a_place_that_was_not_reached_or_given_up_is_refused(dataset):
    stream = stream_of(dataset)
    take(stream, 40)
    stream.position_at(30)
    for number in (41, 1):
        with pytest.raises(ValueError, match=f"item {number} of the stream has not been read"):
            stream.position_at(number)


def test_a_place_of_another_split_is_refused(dataset):
    stream = stream_of(dataset)
    take(stream, 1)
    with pytest.raises(ValueError, match="resume with as many processes as before"):
        stream_of(dataset).split_by_process(0, 2).start_at(stream.position_at(1))


def test_workers_share_the_shards(dataset):
    """More workers than shards: one without stops, the others go on."""
    loader = DataLoader(
        stream_of(dataset, num_shards=1, tasks=["caption"]), batch_size=3, num_workers=2, collate_fn=names
    )
    batches = take(loader, 4)
    assert sorted(item for batch in batches for item in batch) == sorted(
        names(take(stream_of(dataset, tasks=["caption"]), NUM_ROWS))
    )


def test_data_without_a_question_is_an_error(dataset):
    with pytest.raises(ValueError, match="no question of the tasks ground"):
        take(stream_of(dataset, tasks=["ground"]), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": ["find"]}, "unknown tasks"),
        ({"questions_per_row": 0}, "must be at least 1"),
        ({"rank": 2, "world_size": 2}, "rank=2 must be from 0"),
    ],
)
def test_wrong_arguments_are_refused(dataset, arguments, message):
    with pytest.raises(ValueError, match=message):
        stream_of(dataset, **arguments)


def test_a_missing_column_is_named(dataset):
    with pytest.raises(ValueError, match=r"no column \['questions'\]"):
        QuestionStream(dataset.remove_columns("questions").to_iterable_dataset())


def test_a_position_with_other_fields_is_refused():
    with pytest.raises(ValueError, match="missing or unknown: \\['step'\\]"):
        StreamPosition.from_dict({**StreamPosition().to_dict(), "step": 3})


class TestAugmentation:
    @pytest.fixture
    def noise(self):
        """Images that no turn leaves as they are."""
        rng = np.random.default_rng(0)
        images = [rng.integers(0, 255, (8, 8, 3), dtype=np.uint8) for _ in range(NUM_ROWS)]
        questions = [Question("caption", answer="a"), Question("vqa", query="Is it?", answer="yes")]
        return make_dataset([make_row(pixels, f"image{index}", questions) for index, pixels in enumerate(images)])

    @staticmethod
    def seen(items):
        return [(item["image_id"], item["question_index"], item["image"].tobytes()) for item in items]

    def test_each_pass_shows_other_images(self, noise):
        stream = stream_of(noise).augmented(Augmentation(), seed=3)
        items = self.seen(take(stream, 4 * NUM_ROWS))
        first, second = set(items[: 2 * NUM_ROWS]), set(items[2 * NUM_ROWS :])
        assert {item[:2] for item in first} == {item[:2] for item in second}
        assert len(first & second) < NUM_ROWS / 2
        assert self.seen(take(stream_of(noise).augmented(Augmentation(), seed=3), 4 * NUM_ROWS)) == items
        assert self.seen(take(stream_of(noise).augmented(Augmentation(), seed=4), 4 * NUM_ROWS)) != items

    @pytest.mark.parametrize("number", [0, 7, 30])
    @pytest.mark.parametrize("questions_per_row", [1, 2])
    def test_it_goes_on_from_any_place(self, noise, number, questions_per_row):
        def make():
            return stream_of(noise, questions_per_row=questions_per_row).augmented(Augmentation(), seed=3)

        stream = make()
        expected = self.seen(take(stream, number + 20))
        resumed = make()
        resumed.start_at(stream.position_at(number))
        assert self.seen(take(resumed, 20)) == expected[number:]

    def test_an_item_looks_the_same_in_whichever_process(self, noise):
        whole = set(self.seen(take(stream_of(noise).augmented(Augmentation(), 3), 2 * NUM_ROWS)))
        shares = [stream_of(noise).augmented(Augmentation(), 3).split_by_process(rank, 2) for rank in range(2)]
        assert {item for share in shares for item in self.seen(take(share, NUM_ROWS))} == whole

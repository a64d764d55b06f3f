# SPDX-License-Identifier: Apache-2.0
"""One request after the other, and none that nobody waits for."""

import threading

import pytest

from geodit.app.worker import GivenUp, Worker


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.close()


def test_reports_come_in_order(worker):
    def work(ticket):
        for number in range(3):
            ticket.report(number)

    assert [news for news in worker.stream(work) if news is not None] == [0, 1, 2]


def test_an_error_of_the_work_is_raised_where_it_is_waited_for(worker):
    def work(ticket):
        ticket.report("begun")
        raise ValueError("no such image")

    news = worker.stream(work)
    with pytest.raises(ValueError, match="no such image"):
        list(news)


def test_work_that_is_given_up_ends_at_its_next_report(worker):
    seen, released, ended = [], threading.Event(), threading.Event()

    def work(ticket):
        try:
            ticket.report("first")
            released.wait(10)
            seen.append("still at work")
            ticket.report("second")
            seen.append("reported in vain")
        except GivenUp:
            ended.set()
            raise

    news = worker.stream(work)
    assert next(news) == "first"
    news.close()
    released.set()
    assert ended.wait(10)
    assert seen == ["still at work"]


def test_work_that_was_given_up_before_its_turn_never_begins(worker):
    begun, released = [], threading.Event()

    def first(ticket):
        ticket.report("busy")
        released.wait(10)

    busy = worker.stream(first)
    assert next(busy) == "busy"
    waiting = worker.stream(lambda ticket: begun.append(1))
    assert next(waiting) is None
    waiting.close()
    released.set()
    assert [news for news in busy if news is not None] == []
    assert [news for news in worker.stream(lambda ticket: ticket.report("next")) if news] == ["next"]
    assert begun == []


def test_all_work_is_done_in_one_thread(worker):
    names = {
        news
        for _ in range(3)
        for news in worker.stream(lambda ticket: ticket.report(threading.current_thread().name))
        if news
    }
    assert len(names) == 1

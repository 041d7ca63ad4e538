"""`PollFd` against the kernel's select, poll and epoll: every level, both directions, blocked pollers."""

import os
import select
import threading

import pytest

from scapystack.sockets.pollable import PollFd

SAFETY_S = 10


@pytest.fixture
def poll_fd():
    made = PollFd()
    yield made
    made.close()


def levels(fd):
    readable, writable, _ = select.select([fd], [fd], [], 0)
    return bool(readable), bool(writable)


def test_new_descriptor_is_neither_readable_nor_writable(poll_fd):
    assert levels(poll_fd.fd) == (False, False)


def test_show_every_change_of_level_is_seen_by_select(poll_fd):
    states = [(r, w) for r in (False, True) for w in (False, True)]
    for before in states:
        for after in states:
            poll_fd.show(*before)
            assert levels(poll_fd.fd) == before
            poll_fd.show(*after)
            assert levels(poll_fd.fd) == after


def test_show_is_level_triggered_in_epoll_and_poll(poll_fd):
    poll_fd.show(True, True)
    with select.epoll() as epoll:
        epoll.register(poll_fd.fd, select.EPOLLIN | select.EPOLLOUT)
        poll = select.poll()
        poll.register(poll_fd.fd, select.POLLIN | select.POLLOUT)
        for _ in range(2):  # a second look says the same
            assert epoll.poll(0) == [(poll_fd.fd, select.EPOLLIN | select.EPOLLOUT)]
            assert poll.poll(0) == [(poll_fd.fd, select.POLLIN | select.POLLOUT)]
        poll_fd.show(False, False)
        assert epoll.poll(0) == []
        assert poll.poll(0) == []


def test_show_same_level_again_makes_no_system_call(poll_fd, monkeypatch):
    poll_fd.show(True, True)

    def forbidden(*args):
        raise AssertionError("a system call for nothing")

    monkeypatch.setattr(os, "read", forbidden)
    monkeypatch.setattr(os, "write", forbidden)
    poll_fd.show(True, True)


@pytest.mark.parametrize(("event", "level"), [(select.EPOLLIN, (True, False)), (select.EPOLLOUT, (False, True))])
def test_show_wakes_a_thread_that_sleeps_in_epoll(poll_fd, event, level):
    woken = []
    with select.epoll() as epoll:
        epoll.register(poll_fd.fd, event)
        thread = threading.Thread(target=lambda: woken.extend(epoll.poll(SAFETY_S)))
        thread.start()
        poll_fd.show(*level)
        thread.join(SAFETY_S)
    assert woken == [(poll_fd.fd, event)]


def test_show_after_somebody_read_the_descriptor_still_sets_the_level(poll_fd):
    poll_fd.show(True, False)
    os.read(poll_fd.fd, 10)
    poll_fd.show(False, True)
    assert levels(poll_fd.fd) == (False, True)


def test_close_gives_both_descriptors_back_and_show_is_harmless():
    before = len(os.listdir("/proc/self/fd"))
    made = PollFd()
    assert len(os.listdir("/proc/self/fd")) == before + 2
    made.close()
    made.show(True, True)
    assert len(os.listdir("/proc/self/fd")) == before

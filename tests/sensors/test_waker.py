"""Who waits is woken by a socket, by another thread, and by the time; never late and never for nothing."""

import socket
from threading import Thread

import pytest

from sensors.waker import READABLE, WRITABLE, Waker

PATIENCE_S = 30.0


@pytest.fixture
def waker():
    waker = Waker()
    yield waker
    waker.close()


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_another_thread_ends_the_waiting(waker):
    thread = Thread(target=waker.wake)
    thread.start()
    assert waker.wait(PATIENCE_S, None, wants_write=False) == 0
    thread.join()


def test_who_is_woken_often_before_waits_once_less(waker):
    for _ in range(100_000):  # more than the pipe holds
        waker.wake()
    assert waker.wait(PATIENCE_S, None, wants_write=False) == 0
    assert waker.wait(0.0, None, wants_write=False) == 0


def test_a_socket_says_what_happened_to_it(waker, ends):
    one, other = ends
    assert waker.wait(0.0, one, wants_write=False) == 0
    assert waker.wait(PATIENCE_S, one, wants_write=True) == WRITABLE
    other.send(b"x")
    assert waker.wait(PATIENCE_S, one, wants_write=False) == READABLE
    other.close()
    assert waker.wait(PATIENCE_S, one, wants_write=False) & READABLE


def test_a_late_word_of_a_driver_reaches_no_file_of_others():
    waker = Waker()
    waker.close()
    one, other = socket.socketpair()  # with the numbers that the waker had
    with one, other:
        waker.wake()
        for end in (one, other):
            end.setblocking(False)
            with pytest.raises(BlockingIOError):
                end.recv(1)

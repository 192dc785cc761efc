"""When the other host counts as dead: by what the kernel says of its answers, in situations that take minutes."""

from __future__ import annotations

import time

import pytest

from jobpool.transport import peer_silence
from jobpool.transport.peer_silence import PeerSilence


class Kernel:
    """Says of a connection what a kernel says; times in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sent = self.heard = 1000.0
        self.unacknowledged = self.retransmits = self.probes = 0

    def setsockopt(self, level: int, name: int, value: int, /) -> None:
        pass

    def getsockopt(self, level: int, name: int, size: int, /) -> bytes:
        ago = [round(1000 * (self.now - when)) for when in (self.sent, self.heard)]
        small = (1, 0, self.retransmits, self.probes, 0, 0, 0, 0)
        return peer_silence._TCP_INFO.pack(*small, *[0] * 4, self.unacknowledged, *[0] * 4, ago[0], 0, ago[1], ago[1])


def seconds_until_silent(kernel: Kernel, host: PeerSilence, *, most: float) -> float | None:
    """Look every 5 s, and return when it counts as dead; None: not so soon."""
    begun = kernel.now
    while kernel.now - begun < most:
        if host.is_silent():
            return kernel.now - begun
        kernel.now += peer_silence.LOOK_EVERY
    return None


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(time, "monotonic", lambda: kernel.now)
    return kernel


def test_data_that_nothing_answers_is_a_minutes_silence(kernel: Kernel) -> None:
    host = PeerSilence(kernel)
    kernel.unacknowledged, kernel.now, kernel.sent = 3, 1030.0, 1030.0  # idle for 30 s before
    assert not host.is_silent()
    kernel.now, kernel.retransmits = 1035.0, 4
    assert seconds_until_silent(kernel, host, most=50) is None
    kernel.retransmits = 8
    assert seconds_until_silent(kernel, host, most=30) is not None


def test_a_full_window_is_no_silence_for_as_long_as_it_takes(kernel: Kernel) -> None:
    """Nothing is on its way; the kernel asks every two minutes at last, and is answered."""
    host = PeerSilence(kernel)
    kernel.now = 1110.0
    assert seconds_until_silent(kernel, host, most=3600) is None


def test_a_window_that_shrank_is_none(kernel: Kernel) -> None:
    """What was sent is sent again every two minutes, and answered with: not now."""
    host = PeerSilence(kernel)
    kernel.unacknowledged, kernel.retransmits = 5, 9
    for _ in range(30):
        kernel.sent = kernel.heard = kernel.now
        kernel.retransmits += 1
        assert seconds_until_silent(kernel, host, most=120) is None


def test_a_stream_with_a_lost_packet_now_and_then_is_none(kernel: Kernel) -> None:
    host = PeerSilence(kernel)
    for step in range(100):
        kernel.now += peer_silence.LOOK_EVERY
        kernel.sent, kernel.heard, kernel.unacknowledged = kernel.now, kernel.now - 0.05, 10
        kernel.retransmits = int(step % 7 == 3)
        assert not host.is_silent()


def test_a_host_that_dies_while_its_window_is_full_is_found_too(kernel: Kernel) -> None:
    """By the second question that it does not answer."""
    host = PeerSilence(kernel)
    kernel.now, kernel.probes = 1120.0, 1
    assert seconds_until_silent(kernel, host, most=120) is None
    kernel.probes = 2
    assert seconds_until_silent(kernel, host, most=5) == 0

"""What asks a process to stop, and how that is handed on."""

import os
import signal

import pytest

from jaxattn.processes import STOPPING, stop_requests
from jaxattn.sweeps.chain import STOPPED


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a system without terminals that hang up")
def test_a_terminal_that_is_closed_stops_as_the_others_do() -> None:
    # The tests may run under nohup.
    own = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        before = [signal.getsignal(number) for number in STOPPING]
        with stop_requests() as received:
            for number in STOPPING:
                os.kill(os.getpid(), number)
        assert received == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        assert [signal.getsignal(number) for number in STOPPING] == before
    finally:
        signal.signal(signal.SIGHUP, own)
    codes = (129, -signal.SIGHUP, 130, 143)
    assert [STOPPED[code] for code in codes] == [129, 129, 130, 143]
    # Under nohup it was said not to.
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests() as received:
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert not received
    finally:
        signal.signal(signal.SIGHUP, previous)

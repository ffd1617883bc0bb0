"""Imports run without the garbage collector, and leave it as they found it."""

import gc

import pytest

from jaxattn.startup import collector_paused


def test_it_is_off_inside_and_as_before_afterwards() -> None:
    assert gc.isenabled()
    with collector_paused():
        assert not gc.isenabled()
        with collector_paused():
            pass
        assert not gc.isenabled(), "an inner pause must not end the outer one"
    assert gc.isenabled()


def test_an_error_turns_it_on_again() -> None:
    with pytest.raises(ImportError), collector_paused():
        raise ImportError
    assert gc.isenabled()

"""Energy: what the library counts of the devices the process sees; nothing where it cannot."""

import sys
import types
from typing import Any

import jax
import pytest

from jaxattn.stages.machine import energy_meter


class NVMLError(Exception):
    pass


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for pynvml: device i has used 1000 * (i + 1) mJ for each time it was asked."""
    asked: dict[str, int] = {}

    def consumption(handle: str) -> int:
        asked[handle] = asked.get(handle, 0) + 1
        return 1000 * asked[handle] * (int(handle[-1]) + 1)

    found = types.SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: f"index {index}",
        nvmlDeviceGetHandleByUUID=lambda name: f"uuid {name}",
        nvmlDeviceGetTotalEnergyConsumption=consumption,
        asked=asked,
    )
    monkeypatch.setitem(sys.modules, "pynvml", found)
    return found


def see(monkeypatch: pytest.MonkeyPatch, count: int, visible: str | None) -> None:
    gpus = [types.SimpleNamespace(platform="gpu", local_hardware_id=i) for i in range(count)]
    monkeypatch.setattr(jax, "local_devices", lambda: gpus)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


@pytest.mark.parametrize(
    ("count", "visible", "handles"),
    [
        (2, None, {"index 0", "index 1"}),
        (1, "3", {"index 3"}),
        (2, "2, 1", {"index 2", "index 1"}),
        (1, "GPU-7", {"uuid GPU-7"}),
    ],
)
def test_devices_are_those_the_process_sees(
    library: Any, monkeypatch: pytest.MonkeyPatch, count: int, visible: str, handles: set[str]
) -> None:
    see(monkeypatch, count, visible)
    meter = energy_meter()
    assert meter is not None
    before = meter()
    # A joule for each thousand millijoules, of all devices together.
    assert meter() - before == pytest.approx(sum(int(name[-1]) + 1 for name in handles))
    assert set(library.asked) == handles


def test_no_meter_where_nothing_counts(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert energy_meter() is None  # the CPU
    see(monkeypatch, 2, "0")  # fewer names than devices
    assert energy_meter() is None

    def refuse(handle: str) -> int:
        raise NVMLError("not supported")

    see(monkeypatch, 1, None)
    library.nvmlDeviceGetTotalEnergyConsumption = refuse
    assert energy_meter() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert energy_meter() is None

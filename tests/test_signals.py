"""What asks a process to stop: the first signal in order, the second at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jaxattn.runs.folder import RunFolder
from jaxattn.signals import ONE_REQUEST, STOPPING, stop_requests
from jaxattn.sweeps.chain import STOPPED
from jaxattn.train.checkpoints import Checkpoints

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

# Sixty seconds in a library in C, which gives up the interpreter's lock as XLA's compiler does.
BUSY = "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**8)"


@pytest.fixture(autouse=True)
def _hangup() -> Iterator[None]:
    """The tests may run under nohup."""
    own = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, own)


def test_what_asks_to_stop_is_collected() -> None:
    before = [signal.getsignal(number) for number in STOPPING]
    told: list[int] = []
    with stop_requests(told.append) as received:
        for number in STOPPING:
            os.kill(os.getpid(), number)
    expected = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]
    assert received == told == expected
    assert [signal.getsignal(number) for number in STOPPING] == before
    codes = (129, -signal.SIGHUP, 130, 143, -signal.SIGUSR1)
    assert [STOPPED[code] for code in codes] == [129, 129, 130, 143, 138]


def test_a_closed_terminal_is_survived_under_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_requests() as received:
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert not received


class Watched:
    """A process that is watched, and what it does in the meantime."""

    def __init__(self, folder: Path, *lines: str) -> None:
        script = folder / "script.py"
        head = (
            "import gc, hashlib, sys, time",
            "from pathlib import Path",
            "from jaxattn import signals",
            "from jaxattn.files import whole",
            "signals.watch()",
        )
        script.write_text("\n".join([*head, *lines]) + "\n")
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, line: str) -> None:
        assert self.process.stdout is not None
        while (found := self.process.stdout.readline()) != f"{line}\n":
            assert found, "it has ended"

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@pytest.mark.parametrize("number", STOPPING)
def test_the_second_leaves_a_library_in_c_at_once(tmp_path: Path, number: signal.Signals) -> None:
    """And takes away what is half written."""
    running = Watched(
        tmp_path,
        f"with signals.stop_requests(), whole(Path({str(tmp_path / 'a')!r})) as temporary:",
        "    temporary.write_text('half')",
        "    print('busy', flush=True)",
        f"    {BUSY}",
    )
    running.wait_for("busy")
    assert running.process.stderr is not None
    running.send(number)
    assert running.process.stderr.readline().startswith(f"{number.name}: stopping in order; once")
    time.sleep(2 * ONE_REQUEST)
    running.send(number)
    code, _, said = running.end()
    assert code == 128 + number
    assert said == f"jaxattn: {number.name} again: left at once\n"
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


def test_the_same_signal_sent_twice_at_a_time_is_one_request(tmp_path: Path) -> None:
    """As `timeout` does: to the process, and to the group of both."""
    running = Watched(
        tmp_path,
        "with signals.stop_requests() as received:",
        "    print('ready', flush=True)",
        "    while not received:",
        "        time.sleep(0.01)",
        "    time.sleep(1)",
        "print('saved')",
    )
    running.wait_for("ready")
    running.send(signal.SIGTERM)
    time.sleep(ONE_REQUEST / 10)
    running.send(signal.SIGTERM)
    assert running.end()[:2] == (0, "saved\n")


def test_a_library_s_event_loop_is_not_broken_into(tmp_path: Path) -> None:
    """Orbax took what was raised in it for a fault of the disk, and the run went on."""
    running = Watched(
        tmp_path,
        "try:",
        "    with signals.held_back():",
        "        print('ready', flush=True)",
        "        time.sleep(1)",
        "        print('read')",
        "except KeyboardInterrupt as error:",
        "    signals.noticed()",
        "    print(error.number)",
    )
    running.wait_for("ready")
    running.send(signal.SIGTERM)
    assert running.end()[:2] == (0, "read\n15\n")


def test_what_a_library_swallowed_is_still_asked_for(tmp_path: Path) -> None:
    running = Watched(
        tmp_path,
        "try:",
        "    print('ready', flush=True)",
        "    time.sleep(20)",
        "except KeyboardInterrupt:",
        "    pass",
        "with signals.stop_requests() as received:",
        "    print(received)",
    )
    running.wait_for("ready")
    running.send(signal.SIGINT)
    assert running.end()[:2] == (0, "[2]\n")


def test_what_nobody_collects_is_raised_once(tmp_path: Path) -> None:
    running = Watched(
        tmp_path,
        f"path = Path({str(tmp_path / 'a')!r})",
        "try:",
        "    with whole(path) as temporary:",
        "        temporary.write_text('half')",
        "        print('ready', flush=True)",
        "        time.sleep(30)",
        "except KeyboardInterrupt as error:",
        "    print(error, error.number)",
    )
    running.wait_for("ready")
    running.send(signal.SIGTERM)
    assert running.end() == (0, f"SIGTERM {int(signal.SIGTERM)}\n", "")
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


# jax has a callback of the collector, in which an exception goes no further.
COLLECTOR = ("gc.callbacks.append(lambda *_: time.sleep(0.5))", "while True:", "    gc.collect()")

CAUGHT = ("while True:", "    try: time.sleep(30)", "    except BaseException: pass")


@pytest.mark.parametrize("lines", [COLLECTOR, CAUGHT, (BUSY,)], ids=["collector", "caught", "in C"])
def test_a_request_that_is_swallowed_ends_the_process_all_the_same(
    tmp_path: Path, lines: tuple[str, ...]
) -> None:
    running = Watched(tmp_path, "signals._PATIENCE = 0.5", "print('ready', flush=True)", *lines)
    running.wait_for("ready")
    time.sleep(0.2)
    running.send(signal.SIGINT)
    assert running.end() == (130, "", "jaxattn: interrupted\n")


def test_a_process_that_leaves_at_once_tells_those_it_started(tmp_path: Path) -> None:
    running = Watched(
        tmp_path,
        "import subprocess",
        "child = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL)",
        "signals.CHILDREN.append(child)",
        "with signals.stop_requests():",
        "    print(child.pid, flush=True)",
        f"    {BUSY}",
    )
    assert running.process.stdout is not None
    child = int(running.process.stdout.readline())
    for _ in range(2):
        running.send(signal.SIGTERM)
        time.sleep(2 * ONE_REQUEST)
    assert running.end()[0] == 143
    # Of nobody's child there may be a zombie left.
    stat = Path(f"/proc/{child}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def started(tmp_path: Path, flags: list[str], **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "jaxattn", "pretrain", "--exp=a", f"--runs={tmp_path}", *flags],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process: "subprocess.Popen[str]", words: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"it has not said {words!r}")


def test_twice_while_compiling_leaves_at_once(tmp_path: Path, tiny_flags: list[str]) -> None:
    flags = [*tiny_flags, "--config.model.num_layers=12"]
    process = started(tmp_path, flags, JAX_ENABLE_COMPILATION_CACHE="false")
    read_until(process, "compiling program 1 of 2")
    process.send_signal(signal.SIGINT)
    read_until(process, "SIGINT: stopping in order")
    time.sleep(2 * ONE_REQUEST)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "jaxattn: SIGINT again: left at once\n")
    # Whoever reads it sees that its process has gone.
    assert RunFolder(tmp_path, "pretrain", "a").status().state == "interrupted"


def test_a_scheduler_says_before_its_time_is_up(tmp_path: Path, tiny_flags: list[str]) -> None:
    process = started(tmp_path, [*tiny_flags, "--config.train.epochs=500"])
    read_until(process, "epoch 1")
    process.send_signal(signal.SIGUSR1)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGUSR1
    assert "the state is saved; continue with --resume" in said
    folder = RunFolder(tmp_path, "pretrain", "a")
    assert folder.state == "interrupted" and "SIGUSR1" in folder.reason
    assert Checkpoints(folder.path / "checkpoints", keep=1).latest()

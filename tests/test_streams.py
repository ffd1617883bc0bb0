"""Standard output and error: UTF-8 whatever the locale, and quiet where nobody reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Of a process that Python starts without its UTF-8 mode, in a locale that knows ASCII only.
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}

SCRIPT = r"""
import sys
from jaxattn.streams import settle_streams
settle_streams()
print("caf\u00e9", "\u6f22", sys.argv[1], "\ud800")
print("caf\u00e9", "\u6f22", sys.argv[1], "\ud800", file=sys.stderr)
"""

SHOWN = "café 漢 ".encode() + b"\xe9 \\ud800\n"


def settled(**environment: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **environment}


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes")
@pytest.mark.parametrize("environment", [ASCII, {"PYTHONIOENCODING": "latin-1"}])
def test_output_is_utf8_and_names_are_the_bytes_they_are(environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", SCRIPT, b"\xe9"]
    done = subprocess.run(command, env=settled(**environment), capture_output=True, check=True)
    assert done.stdout == SHOWN and done.stderr == SHOWN


@pytest.mark.skipif(sys.platform != "linux", reason="the program starts again on Linux only")
def test_arguments_are_utf8_whatever_the_locale(tmp_path: Path) -> None:
    name = tmp_path / "dépôt"
    command = [sys.executable, "-m", "jaxattn", "compare", f"--runs={name}", "--rank_by=été"]
    done = subprocess.run(command, env=settled(**ASCII), capture_output=True, check=False)
    assert done.returncode == 2
    assert "--rank_by: found 'été'" in done.stderr.decode("utf-8")


@pytest.mark.skipif(os.name != "posix", reason="a shell closes streams")
@pytest.mark.parametrize(
    ("closed", "expected"),
    [("2>&-", "said\n"), (">&-", ""), (">&- 2>&-", ""), ("<&- 2>&-", "said\n")],
)
def test_a_closed_stream_is_no_other_file(closed: str, expected: str, tmp_path: Path) -> None:
    """Messages stay out of the output, and what is written to the number of a stream is lost."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "from jaxattn.streams import settle_streams\n"
        "settle_streams()\n"
        "file = open(sys.argv[1], 'w')\n"
        "print('said', flush=True)\n"
        "print('a message', file=sys.stderr)\n"
        "os.write(2, b'of a library in C')\n"
        "file.write('whole')\n"
    )
    command = f"{sys.executable} {script} {tmp_path / 'file'} {closed}"
    done = subprocess.run(
        command, shell=True, env=settled(), capture_output=True, text=True, check=True
    )
    assert (done.stdout, (tmp_path / "file").read_text()) == (expected, "whole")


@pytest.mark.skipif(os.name != "posix", reason="a pipe without a reader is one of POSIX")
@pytest.mark.parametrize("flags", [["--help"], ["--mode=nonsense"]])
def test_a_pipe_that_nobody_reads_is_no_error(flags: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "jaxattn", *flags]
        done = subprocess.run(
            command, env=settled(), stdout=writer, stderr=subprocess.PIPE, check=False
        )
        unheard = subprocess.run(
            command, env=settled(), stdout=subprocess.DEVNULL, stderr=writer, check=False
        )
    finally:
        os.close(writer)
    help_ = flags == ["--help"]
    assert (done.returncode, unheard.returncode) == ((1, 0) if help_ else (2, 2))
    assert (done.stderr == b"") == help_
    assert b"Traceback" not in done.stderr and b"ignored" not in done.stderr

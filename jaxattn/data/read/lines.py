"""The lines of a text file as it lies on the disk: compressed or not, in UTF-8 or another encoding.

Compression is told by the first bytes, whatever the file is called: a browser may have unpacked
`train.csv.gz`.
"""

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from jaxattn.errors import InputError
from jaxattn.files import unfit

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
"""Endings that stand behind the one of the format."""

# Number from 1, line with its end, what is wrong with it.
Line = tuple[int, str, str]

_BUFFER = 2**16

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}

# The digits of pi begin the first block of bzip2: a text can begin with "BZh".
_BZIP2_BLOCK = b"1AY&SY"

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

_DAMAGED = (EOFError, lzma.LZMAError, zlib.error)


def ending_of(file: Path) -> str:
    """The ending that says the format, in lower case: ".csv" of `train.csv.gz`."""
    return _bare(file).suffix.lower()


def stem_of(file: Path) -> str:
    """The name without the endings of format and compression: "train" of `train.csv.gz`."""
    return _bare(file).stem


def _bare(file: Path) -> Path:
    return file.with_suffix("") if file.suffix.lower() in COMPRESSED else file


class Lines:
    """The lines of a file, or of standard input ("-"), with their ends."""

    def __init__(self, source: Path | str, encoding: str = "") -> None:
        """Opens nothing yet.

        Args:
            source: the file.
            encoding: of the text; "": UTF-8, or UTF-16 where its mark begins the file.
        """
        self._source, self._encoding = source, encoding
        self._size, self._read = 0, 0
        self._packed: BinaryIO | None = None
        self.name = "standard input" if source == "-" else str(source)
        self.form: list[str] = []
        """What was found, once the first line is read, as in ["gzip-compressed", "UTF-16"]."""

    def share(self) -> float | None:
        """Share of the file that has been read; None where its size is not known."""
        if self._packed is not None and not self._packed.closed:
            self._read = self._packed.tell()
        return min(1.0, self._read / self._size) if self._size else None

    def __iter__(self) -> Iterator[Line]:
        """Bytes that are not of the encoding are told and replaced; a byte order mark is skipped.

        Raises:
            InputError: the file cannot be read, or is damaged.
        """
        try:
            with contextlib.ExitStack() as stack:
                if self._source == "-":
                    yield from self._decoded(sys.stdin.buffer, b"")  # not ours to close
                else:
                    path = Path(self._source)
                    if why := unfit(path):
                        raise InputError(f"cannot read {self.name}: {why}")
                    file = io.FileIO(path)
                    raw = stack.enter_context(io.BufferedReader(file, _BUFFER))
                    self._size = path.stat().st_size
                    stream = self._unpacked(raw)
                    yield from self._decoded(stream, stream.peek(_BUFFER))
            if self._packed is not None:
                self._read = self._size
        except _DAMAGED as error:
            raise InputError(
                f"cannot read {self.name}: its {self.form[0]} data are damaged or end early "
                f"({error}); copy or pack it again"
            ) from None
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {error.strerror or error}") from None

    def _unpacked(self, raw: "io.BufferedReader[Any]") -> "io.BufferedReader[Any]":
        head = raw.peek(16)
        kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
        if kind == "bzip2" and head[4:10] != _BZIP2_BLOCK:
            kind = ""
        if not kind:
            return raw
        self._packed = raw
        self.form.append(f"{kind}-compressed")
        if kind == "gzip":
            return io.BufferedReader(gzip.GzipFile(fileobj=raw), _BUFFER)
        if kind == "bzip2":
            return io.BufferedReader(bz2.BZ2File(raw), _BUFFER)
        if kind == "xz":
            return io.BufferedReader(lzma.LZMAFile(raw), _BUFFER)
        import pyarrow

        packed = pyarrow.PythonFile(raw, "r")
        return io.BufferedReader(pyarrow.CompressedInputStream(packed, "zstd"), _BUFFER)

    def _decoded(self, stream: BinaryIO, head: bytes) -> Iterator[Line]:
        encoding = codecs.lookup(self._encoding).name if self._encoding else "utf-8"
        if head.startswith(_UTF16) and not self._encoding:
            encoding = "utf-16"
        if encoding != "utf-8":
            self.form.append(encoding.upper() if encoding.startswith("utf") else encoding)
        if encoding.startswith(("utf-16", "utf-32")):
            yield from self._wide(stream, encoding)
            return
        lines: Iterable[bytes] = stream
        if _ends_as_old_macs_did(head):
            self.form.append("line ends of old Macs")
            lines = _old_mac_lines(stream)
        told = encoding.upper() if encoding == "utf-8" else encoding
        mend = "save the file in UTF-8"
        if not self._encoding:
            mend += ", or say what it is in, as data.encoding=cp1252"
        for number, raw in enumerate(lines, 1):
            self._read += len(raw)
            code = "utf-8-sig" if number == 1 and encoding == "utf-8" else encoding
            try:
                yield number, raw.decode(code), ""
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                yield number, raw.decode(code, "replace"), f"byte {byte:#04x} is not {told}; {mend}"

    def _wide(self, stream: BinaryIO, encoding: str) -> Iterator[Line]:
        """Encodings whose line ends are more than a byte."""
        text = io.TextIOWrapper(stream, encoding, newline="")
        try:
            yield from ((number, line, "") for number, line in enumerate(text, 1))
        except UnicodeError as error:
            raise InputError(
                f"cannot read {self.name}: it is not {encoding.upper()} ({error}); save it in UTF-8"
            ) from None
        finally:
            text.detach()  # whoever opened the file closes it


def _ends_as_old_macs_did(head: bytes) -> bool:
    """Whether the first line ends in a carriage return alone, and so do most others."""
    alone = head.count(b"\r") - head.count(b"\r\n")
    first = re.search(rb"\r(?!\n)|\n", head)
    return alone > head.count(b"\n") and first is not None and first[0] == b"\r"


def _old_mac_lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines that end in a carriage return alone."""
    rest = b""
    while chunk := stream.read(2**20):
        *whole, rest = (rest + chunk).split(b"\r")
        yield from (line + b"\r" for line in whole)
    if rest:
        yield rest


def text_lines(file: Path, encoding: str = "") -> Iterator[str]:
    """The lines of a file with their ends; InputError where one is not of the encoding."""
    for number, line, error in Lines(file, encoding):
        if error:
            raise InputError(f"{file} line {number}: {error}")
        yield line

"""Which files hold rows, and how each of them is opened."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxattn.data.read.arrow import arrow_table, parquet_table
from jaxattn.data.read.form import Form
from jaxattn.data.read.json_rows import json_table
from jaxattn.data.read.lines import COMPRESSED, Lines, ending_of
from jaxattn.data.read.separated import separated_table
from jaxattn.data.read.tables import Row, Table
from jaxattn.errors import InputError

FORMATS = (".parquet", ".arrow", ".feather", ".jsonl", ".ndjson", ".json", ".csv", ".tsv")
"""Endings of tables, in order of preference; those of text may have one of `COMPRESSED` behind."""

_BINARY = (".parquet", ".arrow", ".feather")

ABOUT_DATA = ("dataset_infos.json", "dataset_dict.json", "dataset_info.json", "state.json")
"""Files that `datasets` writes beside tables."""

_UNPACK = {
    ".zip": "unpack it", ".tar": "unpack it", ".tgz": "unpack it", ".7z": "unpack it",
    ".rar": "unpack it", ".xlsx": "save the sheet as CSV (UTF-8)",
    ".xls": "save the sheet as CSV (UTF-8)", ".ods": "save the sheet as CSV (UTF-8)",
    ".pkl": "write it as Parquet with pandas' to_parquet",
    ".pickle": "write it as Parquet with pandas' to_parquet",
    ".xml": "write its texts as CSV or JSON Lines",
}  # fmt: skip

_POINTER = b"version https://git-lfs.github.com/spec/"


def data_files(folder: Path, endings: Sequence[str] = FORMATS) -> list[Path]:
    """The files with one of these endings in a folder, sorted; hidden ones are no data."""
    return [
        file
        for file in sorted(folder.iterdir())
        if ending_of(file) in endings and file.is_file() and not _is_beside(file)
    ]


def _is_beside(file: Path) -> bool:
    """Whether a file says something about data, as Spark's `_metadata`, or is hidden."""
    return file.name.startswith((".", "_")) or file.name.lower() in ABOUT_DATA


def open_table(file: Path, *, strict: bool = True, form: Form | None = None) -> Table:
    """The table in a file with one of the endings `FORMATS`.

    Args:
        file: its name.
        strict: reading stops at the first bad row. Otherwise no unclosed quote swallows more than
            16 million characters.
        form: what options say of the file; None: all is found out.

    Raises:
        InputError: the file cannot be read, or has no header.
    """
    form, ending = form or Form(), ending_of(file)
    refuse_pointer(file)
    if ending in _BINARY:
        if file.suffix.lower() in COMPRESSED:
            raise InputError(f"{file}: {ending} files are compressed inside; unpack it")
        return parquet_table(file) if ending == ".parquet" else arrow_table(file)
    lines = Lines(file, form.encoding)
    if ending in (".csv", ".tsv"):
        return separated_table(lines, ending, form, strict=strict)
    return json_table(lines, ending)


def lines_of_text(source: Path | str, encoding: str = "", unit: str = "line") -> Table:
    """The table of a file (or "-", standard input) that holds one text a line; blank ones too."""
    lines = Lines(source, encoding)

    def rows(_: Sequence[str]) -> Iterator[Row]:
        for number, line, error in lines:
            yield Row(unit, number, {"text": line.rstrip("\r\n")}, error)

    return Table(lines.name, ("text",), rows, share=lines.share)


def refuse_pointer(file: Path) -> None:
    """InputError where a clone of a repository holds a reference in place of the file."""
    try:
        with file.open("rb") as stream:
            is_pointer = stream.read(len(_POINTER)) == _POINTER
    except OSError:
        return  # told by whoever reads the file
    if is_pointer:
        raise InputError(
            f"{file} is a Git LFS pointer, not the file itself; fetch it with: git lfs pull"
        )


def refuse_format(file: Path, option: str, others: str) -> None:
    """InputError that says what to do with a file of no format that is read.

    Args:
        file: its name.
        option: that names it, for the message; may be empty.
        others: what else is allowed.
    """
    ending = ending_of(file)
    name = "".join(file.suffixes[-2:]) if file.suffix != ending else file.suffix
    where = f"{option}: {file}" if option else str(file)
    raise InputError(
        f"{where} ends in {name!r}{f': {_UNPACK[ending]}' if ending in _UNPACK else ''}; allowed: "
        f"{', '.join(FORMATS)} (.csv, .tsv and JSON also with {', '.join(COMPRESSED)}), {others}"
    )


def is_refused(ending: str) -> bool:
    """Whether files with this ending are known, and cannot be read."""
    return ending in _UNPACK

"""Sentences of a docstring in numpydoc's layout, each with the section it stands in.

What tells the section without reading the sentence is taken out: headings, "name : type" lines,
doctests, tables, directives, bullets, marks of emphasis and code, footnotes, and the full stop.
"""

import inspect
import re
from collections.abc import Iterator

SECTIONS = {
    "Parameters": "parameters", "Other Parameters": "parameters", "Arguments": "parameters",
    "Options": "parameters", "Returns": "returns", "Return": "returns", "Yields": "returns",
    "Attributes": "attributes", "Raises": "raises", "Warns": "raises", "Notes": "notes",
    "Note": "notes", "Warnings": "notes", "Examples": "examples", "Example": "examples",
}  # fmt: skip
"""Heading -> section; what stands under other headings is not read (See Also, References, ...)."""

_ITEMISED = ("parameters", "returns", "attributes", "raises")

_MIN_WORDS, _MAX_WORDS = 6, 60

_HEADING = re.compile(r"(?m)^(\S[^\n]*)\n[-=~]{3,} *$")
_SIGNATURE = re.compile(r"[\w.]+\(.*\)( *->.*)?", re.DOTALL)
_BULLET = re.compile(r"([-*•]|\d+[.)]|\(?[a-z0-9]\))\s+")
_ITEM = re.compile(r"[^\s:][^:]{0,60} : ")
_TABLE = re.compile(r"[=+|~-]{3,}")
_ROLE = re.compile(r":[\w:.+-]+:`~?([^`<]*?)(?:\s*<[^`>]*>)?`")
_LINK = re.compile(r"`([^`<]*?)\s*<[^`>]*>`_+")
_FOOTNOTE = re.compile(r"\[[\w, -]{1,20}\]_")
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,2})([^*\s](?:[^*]*[^*\s])?)\1(?!\w)")
_END = re.compile(r"[.!?][\"')]*\s+(?=[A-Z\"(\[])")
_ABBREVIATION = re.compile(
    r"\b(e\.g|i\.e|etc|vs|cf|al|Figs?|Eqs?|Refs?|resp|approx|no|pp|Secs?)\.$"
)
_WORD = re.compile(r"[(\"']*[A-Za-z][A-Za-z'-]+[)\"',;:.]*")


def has_sections(text: str) -> bool:
    """Whether it has one of the headings of `SECTIONS`, underlined."""
    return any(heading.strip() in SECTIONS for heading in _HEADING.findall(inspect.cleandoc(text)))


def sentences(text: str) -> Iterator[tuple[str, str]]:
    """(section, sentence) in the order of the docstring.

    Sections are the values of `SECTIONS`, "summary" (the first paragraph) and "extended" (what
    follows it before the first heading). Sentences have 6 to 60 words, most of them of letters.
    """
    for section, body in _sections(inspect.cleandoc(text)):
        for paragraph in _paragraphs(body, section in _ITEMISED):
            for raw in _split(_plain(paragraph)):
                sentence = raw.strip().rstrip(".:;,!?").strip()
                words = sentence.split()
                of_letters = sum(_WORD.fullmatch(word) is not None for word in words)
                if (
                    _MIN_WORDS <= len(words) <= _MAX_WORDS
                    and of_letters >= max(5, 0.6 * len(words))
                    # A gap that a program fills in.
                    and "%(" not in sentence
                ):
                    yield section, sentence


def _sections(text: str) -> Iterator[tuple[str, str]]:
    parts = _HEADING.split(text)
    opening = [part for part in re.split(r"\n\s*\n", parts[0]) if part.strip()]
    # Compiled functions carry their signature as a first paragraph.
    while opening and _SIGNATURE.fullmatch(opening[0].strip()):
        opening.pop(0)
    yield "summary", opening[0] if opening else ""
    yield "extended", "\n\n".join(opening[1:])
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        if heading.strip() in SECTIONS:
            yield SECTIONS[heading.strip()], body


def _paragraphs(body: str, itemised: bool) -> Iterator[str]:
    """Paragraphs and items of lists without doctests, tables, directives and literal blocks."""
    paragraph: list[str] = []
    outer: int | None = None  # lines that are indented deeper belong to a block that is left out
    for line in [*body.split("\n"), ""]:
        stripped, indent = line.strip(), len(line) - len(line.lstrip())
        if outer is not None and (not stripped or indent > outer):
            continue
        outer = None
        is_item = itemised and (indent == 0 or _ITEM.match(stripped) is not None)
        starts_block = stripped.startswith(".. ")
        bullet = _BULLET.match(stripped)
        if not stripped or is_item or starts_block or bullet:
            yield from _prose(paragraph)
            paragraph = []
        if starts_block:
            outer = indent
        elif stripped and not is_item:
            paragraph.append(stripped[bullet.end() :] if bullet else stripped)
            if stripped.endswith("::"):
                yield from _prose(paragraph)
                paragraph, outer = [], indent
    yield from _prose(paragraph)


def _prose(lines: list[str]) -> Iterator[str]:
    is_code = any(line.startswith(">>>") for line in lines)
    if lines and not is_code and not any(_TABLE.match(line) for line in lines):
        yield " ".join(lines)


def _plain(text: str) -> str:
    """Without the marks of reStructuredText; what they mark stays."""
    text = _LINK.sub(r"\1", _ROLE.sub(r"\1", text))
    text = _EMPHASIS.sub(r"\2", _FOOTNOTE.sub("", text.replace("`~", "").replace("`", "")))
    return " ".join(text.split())


def _split(text: str) -> Iterator[str]:
    start = 0
    for match in _END.finditer(text):
        if not _ABBREVIATION.search(text[: match.start() + 1]):
            yield text[start : match.end()]
            start = match.end()
    yield text[start:]

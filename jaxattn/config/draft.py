"""A configuration as YAML to edit: every option with its description and what it may be."""

import dataclasses
import textwrap

import yaml

from jaxattn.config.checked import Checked, declared
from jaxattn.config.config import Config

WIDTH = 100
"""Of a line of comment."""


def commented(config: Config, head: str) -> str:
    """All options of `config` as YAML with comments, after the comment `head`."""
    return "\n".join([*_comment(head, ""), *_section(config, "")]) + "\n"


def _section(node: Checked, indent: str) -> list[str]:
    kind: type = type(node)
    lines = []
    for field in dataclasses.fields(kind):
        value, doc = getattr(node, field.name), field.metadata["doc"]
        if isinstance(value, Checked):
            lines += ["", *_comment(doc, indent), f"{indent}{field.name}:"]
            lines += _section(value, indent + "  ")
            continue
        option = declared(kind)[field.name]
        values = option.allowed or ("true, false" if option.type is bool else "")
        lines += _comment(f"{doc} [{values}]" if values else doc, indent)
        lines.append(f"{indent}{field.name}: {_inline(value)}")
    return lines


def _comment(text: str, indent: str) -> list[str]:
    lines: list[str] = []
    for line in text.splitlines():
        lines += textwrap.wrap(
            line,
            WIDTH,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}#   ",
            break_long_words=False,
            break_on_hyphens=False,
        ) or [f"{indent}#"]
    return lines


def _inline(value: object) -> str:
    """A value in one line."""
    plain = [list(value) if isinstance(value, tuple) else value]
    text = yaml.safe_dump(plain, default_flow_style=True, width=10**9, allow_unicode=True)
    return text.strip()[1:-1]

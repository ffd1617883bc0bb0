"""What is said of the data, once in a command: a run reads them for several tasks."""

import functools
import logging

from jaxattn.console import say, visible


class _Once(logging.Filter):
    """Lets each line through once."""

    def __init__(self) -> None:
        """Nothing has been said yet."""
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is new; nothing in it steers a terminal."""
        line = record.getMessage()
        record.msg, record.args = visible(line), ()
        is_new = line not in self.said
        self.said.add(line)
        return is_new


_once = _Once()

logger = logging.getLogger("jaxattn.data")
logger.addFilter(_once)


@functools.cache
def tell_once(line: str) -> None:
    """Says what was found out about the data."""
    say(line)


def forget() -> None:
    """Another command begins: all is said again."""
    _once.said.clear()
    tell_once.cache_clear()

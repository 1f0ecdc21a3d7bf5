"""The way to a value in a JSON reply: ``customer.orders[0].total``.

A small part of RFC 9535 that leads to one place and cannot be slow: names, indices (from the end, if negative)
and names in brackets, after an optional ``$``.
"""

import re
from typing import Any

MAX_PATH_CHARACTERS = 200  # characters
_STEP_PATTERN = re.compile(r"""\.([A-Za-z_][A-Za-z0-9_-]*)|\[(-?[0-9]{1,6})\]|\[(?:"([^"\]]*)"|'([^'\]]*)')\]""")


class JsonPath:
    """A parsed path. Raises ValueError for what is none."""

    __slots__ = ("_steps", "source")

    def __init__(self, source: str) -> None:
        if len(source) > MAX_PATH_CHARACTERS:
            raise ValueError(f"a path has at most {MAX_PATH_CHARACTERS} characters")
        self.source = source
        self._steps = _parse(source)

    def __repr__(self) -> str:
        return f"JsonPath({self.source!r})"

    def find(self, body: Any) -> Any:
        """What is there. Raises LookupError when nothing is."""
        found = body
        for step in self._steps:
            found = _descend(found, step)
        return found


def _descend(value: Any, step: str | int) -> Any:
    match value, step:
        case dict(), str():
            return value[step]
        case list(), int():
            return value[step]
        case _:
            raise LookupError(step)


def _parse(source: str) -> list[str | int]:
    rooted = source.startswith(("$", "["))
    written = source.removeprefix("$") if rooted else f".{source}"
    steps: list[str | int] = []
    place = 0
    while place < len(written):
        match = _STEP_PATTERN.match(written, place)
        if match is None:
            raise ValueError(f"not a path such as `customer.orders[0].total`: `{source}`")
        name, index, *quoted = match.groups()
        steps.append(int(index) if index is not None else next(part for part in (name, *quoted) if part is not None))
        place = match.end()
    return steps

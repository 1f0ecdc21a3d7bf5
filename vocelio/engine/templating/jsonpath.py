"""JsonPath: the path to one value in a JSON response, such as ``customer.orders[0].total``.

A subset of RFC 9535 that selects a single value in linear time: names, indices (negative ones count from the end) and
names in brackets, after an optional ``$``.
"""

import re
from typing import Any

MAX_PATH_CHARACTERS = 200
_STEP_PATTERN = re.compile(r"""\.([A-Za-z_][A-Za-z0-9_-]*)|\[(-?[0-9]{1,6})\]|\[(?:"([^"\]]*)"|'([^'\]]*)')\]""")


class JsonPath:
    """A parsed path. Raises ValueError for an invalid one."""

    __slots__ = ("_steps", "source")

    def __init__(self, source: str) -> None:
        if len(source) > MAX_PATH_CHARACTERS:
            raise ValueError(f"a path has at most {MAX_PATH_CHARACTERS} characters")
        self.source = source
        self._steps = _parse(source)

    def __repr__(self) -> str:
        return f"JsonPath({self.source!r})"

    def find(self, body: Any) -> Any:
        """Return the value at this path. Raises LookupError if there is none."""
        value = body
        for step in self._steps:
            value = _descend(value, step)
        return value


def _descend(value: Any, step: str | int) -> Any:
    match value, step:
        case dict(), str():
            return value[step]
        case list(), int():
            return value[step]
        case _:
            raise LookupError(step)


def _parse(source: str) -> list[str | int]:
    has_root = source.startswith(("$", "["))
    path = source.removeprefix("$") if has_root else f".{source}"
    steps: list[str | int] = []
    position = 0
    while position < len(path):
        match = _STEP_PATTERN.match(path, position)
        if match is None:
            raise ValueError(f"not a path such as `customer.orders[0].total`: `{source}`")
        name, index, *quoted = match.groups()
        steps.append(int(index) if index is not None else next(part for part in (name, *quoted) if part is not None))
        position = match.end()
    return steps

"""Work budget of one rendering, spent by filters, loops and variable lookups.

The Liquid library bounds the output and each nest of loops. The budget also bounds work without output and consecutive
loops: the slowest template found so far takes a few tens of milliseconds.
"""

from typing import Any

from liquid import RenderContext
from liquid.exceptions import LoopIterationLimitError
from liquid.token import Token
from liquid.undefined import UNDEFINED, Undefined, is_undefined

MAX_WORK_UNITS = 200_000  # of about 0.1 us: characters and elements that filters process, and the costs below
_LOOP_STEP_COST = 20
_LOOKUP_COST = 20


def length_of(value: object) -> int:
    """Return the number of characters or elements; of a range without creating them."""
    if isinstance(value, range):
        return max(0, value.stop - value.start)
    return len(value) if isinstance(value, str | list | tuple | dict) else 0


class TrackedUndefined(Undefined):
    """An undefined name: renders as an empty string, and is recorded when it is rendered."""

    __slots__ = ("_missing_names", "_path")

    def __init__(self, path: str, missing_names: list[str]) -> None:
        super().__init__(path)
        self._path = path
        self._missing_names = missing_names

    def __str__(self) -> str:
        self._missing_names.append(self._path)
        return ""


class BudgetedContext(RenderContext):
    """Context of one rendering. ``missing_names`` are the undefined names that were rendered."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.missing_names: list[str] = []
        self._work_spent = 0

    def spend(self, units: int) -> None:
        """Spend work units. Raises LoopIterationLimitError when the budget is exhausted."""
        self._work_spent += units
        if self._work_spent > MAX_WORK_UNITS:
            raise LoopIterationLimitError("the template takes too long", token=None)

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        value = super().get(path, token=token, default=default)
        self.spend(_LOOKUP_COST + length_of(value) // 50)  # the value may be compared or searched
        if is_undefined(value):
            return TrackedUndefined(".".join(str(part) for part in path), self.missing_names)
        return value

    def raise_for_loop_limit(self, length: int = 1) -> None:
        self.spend(_LOOP_STEP_COST * length)
        super().raise_for_loop_limit(length)

"""How much work one rendering may do: a budget that filters, loops and look-ups spend from.

The library bounds the output, and each nest of loops; the budget bounds what a template does without writing
anything, and loops that follow one another. With it the slowest template that we could write takes a few tens
of milliseconds.
"""

from typing import Any

from liquid import RenderContext
from liquid.exceptions import LoopIterationLimitError
from liquid.token import Token
from liquid.undefined import UNDEFINED, Undefined, is_undefined

MAX_WORK_UNITS = 200_000  # units of about 0.1 us: characters and elements that filters handle, and the costs below
_LOOP_STEP_COST = 20
_LOOKUP_COST = 20


def length_of(value: object) -> int:
    """Characters or elements; a range's without making its elements."""
    if isinstance(value, range):
        return max(0, value.stop - value.start)
    return len(value) if isinstance(value, str | list | tuple | dict) else 0


class TrackedUndefined(Undefined):
    """A name that nothing stands behind: it prints as nothing, and is remembered when it does."""

    __slots__ = ("_missing_names", "_path")

    def __init__(self, path: str, missing_names: list[str]) -> None:
        super().__init__(path)
        self._path = path
        self._missing_names = missing_names

    def __str__(self) -> str:
        self._missing_names.append(self._path)
        return ""


class BudgetedContext(RenderContext):
    """One rendering. ``missing`` are the undefined names that were printed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.missing_names: list[str] = []
        self._work_spent = 0

    def spend(self, units: int) -> None:
        """Raises LoopIterationLimitError when the budget is used up."""
        self._work_spent += units
        if self._work_spent > MAX_WORK_UNITS:
            raise LoopIterationLimitError("the template takes too long", token=None)

    def get(self, path: list[object], *, token: Token | None, default: object = UNDEFINED) -> object:
        """See RenderContext."""
        found = super().get(path, token=token, default=default)
        self.spend(_LOOKUP_COST + length_of(found) // 50)  # it may be compared, or searched
        return (
            TrackedUndefined(".".join(str(part) for part in path), self.missing_names) if is_undefined(found) else found
        )

    def raise_for_loop_limit(self, length: int = 1) -> None:
        """See RenderContext: called when a loop begins."""
        self.spend(_LOOP_STEP_COST * length)
        super().raise_for_loop_limit(length)

"""One finding about a flow document, worded like a good compiler's."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal

import msgspec


class Problem(msgspec.Struct, frozen=True, order=True):
    """``path`` leads to the place (``nodes.ask.choices.sales.key``); ``hint`` says how to mend it, where possible."""

    path: str
    code: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.path or 'document'}: {self.severity} [{self.code}]: {self.message}{hint}"


def did_you_mean(wrong: str, known: Iterable[str]) -> str:
    """A hint naming the likeliest correct word, or nothing."""
    close = get_close_matches(wrong, list(known), n=1)
    return f"did you mean `{close[0]}`?" if close else ""

"""What a variable can hold: JSON that comes back from a checkpoint as it was, small and not deep.

All variables are in every checkpoint, and a checkpoint is written for every prompt.
"""

from typing import Any

import msgspec

MAX_BYTES = 2_000  # of JSON in one variable
MAX_DEPTH = 16
MAX_VARIABLES = 100


def fitting(value: Any) -> Any:
    """The value as JSON gives it back, without what JSON has no word for. Raises ValueError for what is too much."""
    try:
        written = msgspec.json.encode(value)
    except (RecursionError, OverflowError, TypeError, msgspec.MsgspecError) as error:
        raise ValueError("cannot be held by a variable") from error
    if len(written) > MAX_BYTES:
        raise ValueError(f"has more than {MAX_BYTES:,} bytes")
    if isinstance(value, dict | list | tuple) and _depth(value) > MAX_DEPTH:
        raise ValueError(f"is nested more than {MAX_DEPTH} deep")
    return msgspec.json.decode(written)


def _depth(value: Any) -> int:
    """Levels of lists and objects; counted level by level, since it may be very deep."""
    level, depth = [value], 0
    while level := [v for v in level if isinstance(v, dict | list | tuple)]:
        depth += 1
        level = [element for v in level for element in (v.values() if isinstance(v, dict) else v)]
    return depth

"""What a variable can hold: JSON that comes back from a checkpoint as it was, small and not deep.

All variables are in every checkpoint, and a checkpoint is written for every prompt.
"""

from typing import Any

import msgspec

MAX_VARIABLE_BYTES = 2_000  # of JSON in one variable
MAX_VALUE_DEPTH = 16
MAX_VARIABLES = 100


def to_json_value(value: Any) -> Any:
    """The value as JSON gives it back, without what JSON has no word for. Raises ValueError for what is too much."""
    try:
        written = msgspec.json.encode(value)
    except (RecursionError, OverflowError, TypeError, msgspec.MsgspecError) as error:
        raise ValueError("cannot be held by a variable") from error
    if len(written) > MAX_VARIABLE_BYTES:
        raise ValueError(f"has more than {MAX_VARIABLE_BYTES:,} bytes")
    if isinstance(value, dict | list | tuple) and _nesting_depth(value) > MAX_VALUE_DEPTH:
        raise ValueError(f"is nested more than {MAX_VALUE_DEPTH} deep")
    return msgspec.json.decode(written)


def _nesting_depth(value: Any) -> int:
    """Levels of lists and objects; counted level by level, since it may be very deep."""
    level, depth = [value], 0
    while level := [v for v in level if isinstance(v, dict | list | tuple)]:
        depth += 1
        level = [element for v in level for element in (v.values() if isinstance(v, dict) else v)]
    return depth

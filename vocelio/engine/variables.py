"""Limits of flow variables: small, shallow JSON values that a checkpoint restores unchanged.

Every checkpoint contains all variables, and a checkpoint is written for every prompt.
"""

from typing import Any

import msgspec

MAX_VARIABLE_BYTES = 2_000  # bytes of JSON in one variable
MAX_VALUE_DEPTH = 16
MAX_VARIABLES = 100


def to_json_value(value: Any) -> Any:
    """Convert a value to what its JSON decodes to. Raises ValueError for a value that is too large or not JSON."""
    try:
        encoded = msgspec.json.encode(value)
    except (RecursionError, OverflowError, TypeError, msgspec.MsgspecError) as error:
        raise ValueError("cannot be stored in a variable") from error
    if len(encoded) > MAX_VARIABLE_BYTES:
        raise ValueError(f"has more than {MAX_VARIABLE_BYTES:,} bytes")
    if isinstance(value, dict | list | tuple) and _nesting_depth(value) > MAX_VALUE_DEPTH:
        raise ValueError(f"is nested more than {MAX_VALUE_DEPTH} deep")
    return msgspec.json.decode(encoded)


def _nesting_depth(value: Any) -> int:
    """Count the levels of lists and objects, without recursion, since the value may be very deep."""
    level, depth = [value], 0
    while level := [v for v in level if isinstance(v, dict | list | tuple)]:
        depth += 1
        level = [element for v in level for element in (v.values() if isinstance(v, dict) else v)]
    return depth

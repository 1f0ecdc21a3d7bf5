"""A row of LiveCallRow for tests."""

import msgspec

from vocelio.gateway.store.calls.live import LiveCallRow

LIVE_CALL_ROW = LiveCallRow(
    tenant="harbour",
    call="CA000",
    number="+13072249663",
    caller="",
    flow="front-desk",
    version=1,
    started_at=10,
    ended_at=None,
    outcome="",
    disposition="",
    department="",
    billed_microseconds=0,
    cost_micro_usd=0,
    generation=1,
    sequence=0,
    node="",
)


def live_call_row(**parts):
    """Return the row with other values."""
    return msgspec.structs.replace(LIVE_CALL_ROW, **parts)

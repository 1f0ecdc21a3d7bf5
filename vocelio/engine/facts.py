"""What a flow may know of its call: fixed when the call begins, kept in its checkpoint."""

import msgspec


class TenantFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The client whose flow it is."""

    id: str
    name: str
    variables: dict[str, str] = {}


class CallFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The call.

    ``caller`` and ``number`` are E.164 (``caller`` may be empty: withheld); ``started`` is whole microseconds
    UTC; ``seed`` makes every random choice of the call.
    """

    call: str
    caller: str
    number: str
    tenant: TenantFacts
    started: int
    seed: str = ""
    departments: dict[str, str] = {}

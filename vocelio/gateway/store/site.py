"""What calls need to know of the tenants: the ``Site`` port, and what it tells."""

from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from vocelio.engine.facts import E164
from vocelio.engine.flow import FlowVersion
from vocelio.engine.hours import OpeningHours
from vocelio.engine.voice import Tier, Voice

END = r"$(?!\n)"  # in Python `$` alone lets a line's end follow
PhoneNumber = Annotated[
    str, Meta(pattern=f"^{E164.pattern}{END}", description="a telephone number such as +13072249663")
]
TenantId = Annotated[str, Meta(pattern=f"^[a-z0-9-]{{1,40}}{END}", description="a tenant's name such as harbour-tools")]
Name = Annotated[str, Meta(pattern=f"^[a-z0-9][a-z0-9_-]{{0,63}}{END}", description="a name such as front-desk")]
TimeZone = Annotated[
    str, Meta(pattern=f"^[A-Za-z0-9_+/-]{{0,64}}{END}", description="a time zone such as Europe/Berlin")
]
Sentence = Annotated[str, Meta(min_length=1, max_length=1_000)]
Countries = Annotated[
    tuple[Annotated[str, Meta(pattern=f"^[A-Z]{{2}}{END}", description="a country such as US (ISO 3166)")], ...],
    Meta(max_length=250),
]
Prefixes = Annotated[
    tuple[Annotated[str, Meta(pattern=rf"^\+[1-9][0-9]{{0,14}}{END}", description="how numbers begin: +44207")], ...],
    Meta(max_length=1_000),
]
Hosts = Annotated[
    tuple[
        Annotated[
            str, Meta(pattern=f"^[a-z0-9][a-z0-9.-]{{0,252}}{END}", description="a host such as pbx.example.com")
        ],
        ...,
    ],
    Meta(max_length=100),
]
PerHour = Annotated[int, Meta(ge=0, le=100_000)]
AtOnce = Annotated[int, Meta(ge=0, le=10_000)]
BridgeSeconds = Annotated[int, Meta(ge=60, le=14_400)]

DEFAULT_APOLOGY = "Sorry, this number is not in service. Please check it and call again. Goodbye."
DEFAULT_RATES: dict[Tier, int] = {"local": 0, "azure": 80_000, "elevenlabs": 350_000}
"""Micro-USD a minute, where nobody has set others."""
RINGING = 20.0  # seconds: about four rings
LONGEST_BRIDGE = 14_400  # seconds: Twilio's own default, and well within what a process waits for a transfer's end


class Overflow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a new caller gets while the gateway has as many calls as it can carry.

    ``message``: hears ``text``, or else the tenant's ``pause``. ``queue``: waits until there is room, for at most
    ``seconds``, and hears the message then. ``forward``: is put through to ``number``, if transfers may ring it.
    """

    do: Literal["message", "queue", "forward"] = "message"
    text: Annotated[str, Meta(max_length=1_000)] = ""
    number: Annotated[
        str, Meta(pattern=f"^({E164.pattern})?{END}", description="a telephone number such as +13072249663")
    ] = ""
    seconds: Annotated[int, Meta(ge=10, le=3_600)] = 300


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a tenant's calls may be put through to; see destinations.

    ``countries`` none: that of the number that was called. ``destinations`` are prefixes of numbers that are always
    allowed. A SIP address is rung only on one of ``sip_hosts``.
    """

    countries: Countries = ()
    destinations: Prefixes = ()
    sip_hosts: Hosts = ()


class Tenant(Reach, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The client company, and what its callers get where a flow does not say otherwise.

    ``time_zone`` is an IANA name; empty is UTC. ``voice`` is what a flow that names none is promoted with.
    ``apology``, ``hold`` and ``pause`` are what a caller is told when something went wrong, has to wait a moment, or
    calls a flow that is paused; ``overflow`` is what a new caller gets when the gateway is full. ``max_calls`` limits
    the calls at once; ``blocked`` callers are not answered.

    Against toll fraud there are bounds that cannot be taken away, only set otherwise: whom transfers may ring
    (``countries``, ``destinations``, ``sip_hosts``), how many begin within an hour and are under way at once, and
    how many seconds a caller may talk to whoever answered.

    ``record_calls`` records every call, both sides: callers must be told. ``redact`` keeps numbers, cards and e-mail
    addresses out of what is logged about the tenant's calls.
    """

    id: TenantId
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    time_zone: TimeZone = ""
    variables: Annotated[dict[str, str], Meta(max_length=100)] = {}
    voice: Voice = Voice()
    apology: Sentence = "Sorry, something went wrong. Please call again later. Goodbye."
    hold: Sentence = "One moment, please."
    pause: Sentence = "Sorry, we cannot take your call at the moment. Please call again later. Goodbye."
    overflow: Overflow = Overflow()
    max_calls: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    blocked: Annotated[tuple[PhoneNumber, ...], Meta(max_length=10_000)] = ()
    max_transfers_per_hour: PerHour = 600
    max_transfers_at_once: AtOnce = 100
    max_transfer_seconds: BridgeSeconds = LONGEST_BRIDGE
    record_calls: bool = False
    redact: bool = True


class Department(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a transfer rings: ``timeout`` seconds each in turn, or all together; who answers hears ``whisper``.

    Rung together, whoever answers first has the call. ``whisper`` is a Liquid template; see whispers.
    """

    numbers: Annotated[tuple[PhoneNumber, ...], Meta(min_length=1, max_length=10)]
    timeout: Annotated[float, Meta(ge=5, le=600)] = RINGING
    ring: Literal["in_turn", "together"] = "in_turn"
    whisper: Annotated[str, Meta(max_length=500)] = ""
    hours: OpeningHours | None = None


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """What a number leads to, all that a call of it needs: it does not change while the call lives.

    ``promoted`` is the number of the flow's version, 0 where versions are not counted. ``sounds`` are the stored
    sounds (mu-law) that the version plays; ``rates`` are micro-USD a minute. ``account`` is the tenant's own of
    Twilio, if it has one: nobody else's may call the number then, but the platform's. ``fallback`` is the number that
    callers are put through to when all else has failed.
    """

    number: str
    tenant: Tenant
    flow: str
    version: FlowVersion
    promoted: int = 0
    departments: dict[str, Department] = {}
    sounds: dict[str, bytes] = {}
    rates: dict[Tier, int] = msgspec.field(default_factory=DEFAULT_RATES.copy)
    account: str = ""
    fallback: str = ""


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """A number that leads to no flow at present: the caller hears ``text``, or is forwarded to another number.

    ``longest`` is how many seconds a forwarded call may take.
    """

    number: str
    tenant: str
    flow: str = ""
    outcome: Literal["paused", "unassigned", "suspended", "unavailable"]
    text: str = ""
    forward: str = ""
    account: str = ""
    longest: int = LONGEST_BRIDGE


class Transfers(msgspec.Struct, frozen=True):
    """A tenant's transfers, in all processes: ``begun`` since an instant, and ``under_way`` now."""

    begun: int = 0
    under_way: int = 0


class Site(Protocol):
    """What a call needs to know."""

    async def assignment(self, number: str) -> Assignment | Closed | None:
        """What is behind a number (E.164); None when it is nobody's. Raises StoreUnavailable."""
        ...

    def remembered(self, number: str) -> Closed | None:
        """What this process knows of a number without asking: what its callers get when the store is away."""
        ...

    async def pinned(self, tenant: str, number: str, flow: str, version: int, started: int) -> Assignment | None:
        """What a call that ``started`` then goes on with: its version, and the tenant's things as they are now.

        None when the version cannot be run any more. Raises StoreUnavailable.
        """
        ...

    async def secret(self, tenant: str, name: str) -> str:
        """A secret of the tenant's, for a request's header. Raises NotFound, StoreUnavailable."""
        ...

    async def transfers(self, tenant: str, since: int) -> Transfers:
        """How many transfers there are, since an instant (microseconds UTC). Raises StoreUnavailable."""
        ...

    async def owns(self, tenant: str, number: str) -> bool:
        """Whether the number is one of the tenant's. Raises StoreUnavailable."""
        ...

"""Tickets: what a browser, which cannot send a header with a WebSocket, brings in the place of its key.

Made by any process and checked by any other, under a MAC of a key that they share; good for half a minute, and once:
see store/admissions.py.
"""

import re
from collections.abc import Sequence

import msgspec

from vocelio.gateway.crypto.hmac_signer import HmacSigner
from vocelio.gateway.store.audit import Actor, sortable_id

TICKET_LIFETIME_SECONDS = 30
MAX_CLOCK_SKEW_SECONDS = 5  # how far the clocks of two processes may differ
_TICKET_FORMAT = re.compile(
    r"([0-9a-f]{27})\.([0-9a-f]{1,16})\.([0-9a-f]{16})\.([a-z0-9-]{0,40})\.([\w-]{43})", re.ASCII
)


class TicketClaims(msgspec.Struct, frozen=True):
    """``row`` of the trail is what its use will add; ``tenant`` may be empty: a platform key that watches all."""

    audit_id: str
    key_id: str
    tenant: str


class WebSocketTickets:
    """Makes and checks them. ``keys`` are secret texts, newest first; with none, one of this process alone."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._signer = HmacSigner(keys, "monitors' tickets")

    def issue(self, actor: Actor) -> str:
        """A ticket for whoever asks."""
        claims = f"{sortable_id(actor.now)}.{actor.now:x}.{actor.key_id}.{actor.tenant}"
        return f"{claims}.{self._signer.sign(claims)}"

    def verify(self, ticket: str, now: int) -> TicketClaims | None:
        """What the ticket says; None when it is not ours or too old. Whether it was used before, the store knows."""
        match = _TICKET_FORMAT.fullmatch(ticket)
        claims, _, mac = ticket.rpartition(".")
        if match is None or not self._signer.verify(claims, mac):
            return None
        age = (now - int(match[2], 16)) / 1e6
        return (
            TicketClaims(match[1], match[3], match[4])
            if -MAX_CLOCK_SKEW_SECONDS <= age <= TICKET_LIFETIME_SECONDS
            else None
        )

"""Tickets: what a browser, which cannot send a header with a WebSocket, brings in the place of its key.

Made by any process and checked by any other, under a MAC of a key that they share; good for half a minute, and once:
see store/admissions.py.
"""

import re
from collections.abc import Sequence

import msgspec

from vocelio.gateway.crypto.hmac_signer import Seal
from vocelio.gateway.store.audit.actor import Actor, unique

SECONDS = 30
AHEAD_SECONDS = 5  # how far the clocks of two processes may differ
_FORM = re.compile(r"([0-9a-f]{27})\.([0-9a-f]{1,16})\.([0-9a-f]{16})\.([a-z0-9-]{0,40})\.([\w-]{43})", re.ASCII)


class Claims(msgspec.Struct, frozen=True):
    """``row`` of the trail is what its use will add; ``tenant`` may be empty: a platform key that watches all."""

    row: str
    key: str
    tenant: str


class Tickets:
    """Makes and checks them. ``keys`` are secret texts, newest first; with none, one of this process alone."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._seal = Seal(keys, "monitors' tickets")

    def issue(self, actor: Actor) -> str:
        """A ticket for whoever asks."""
        claims = f"{unique(actor.at)}.{actor.at:x}.{actor.key}.{actor.tenant}"
        return f"{claims}.{self._seal.of(claims)}"

    def check(self, ticket: str, now: int) -> Claims | None:
        """What the ticket says; None when it is not ours or too old. Whether it was used before, the store knows."""
        match = _FORM.fullmatch(ticket)
        claims, _, mac = ticket.rpartition(".")
        if match is None or not self._seal.fits(claims, mac):
            return None
        age = (now - int(match[2], 16)) / 1e6
        return Claims(match[1], match[3], match[4]) if -AHEAD_SECONDS <= age <= SECONDS else None

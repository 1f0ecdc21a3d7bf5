"""What admits a stream to its call: a token that any process can make and any other can check.

It names the tenant and the call's generation, and when it was made, under a MAC of a key that the processes share; it
is bound to account and call without naming them. So to hand one out changes nothing and needs no store: asked twice,
``/twilio/continue`` answers the same twice. It is good once because what it admits to, raising the generation that it
names, can be done once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vocelio.gateway.crypto.hmac_signer import Seal

TOKEN_SECONDS = 60  # Twilio connects within a second; a late one is not Twilio's
AHEAD_SECONDS = 5  # how far the clocks of two processes may differ
LONGEST = 200  # characters; Twilio's limit of a stream's parameters is 500


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call's stream to be: whoever raises the ``generation`` of that tenant's call by one has it."""

    tenant: str
    generation: int


class Tickets:
    """Makes and checks tokens. ``keys`` are secret texts, newest first; with none, one of this process alone."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._seal = Seal(keys, "stream tokens")

    def issue(self, ticket: Ticket, account: str, call: str, now: int) -> str:
        """A token, made ``now`` (microseconds UTC)."""
        claims = f"{now // 1_000:x}.{ticket.generation}.{ticket.tenant}"
        return f"{claims}.{self._seal.of(_bound(claims, account, call))}"

    def check(self, token: str, account: str, call: str, now: int) -> Ticket | None:
        """What the token admits that account's call to; None when it is not ours, or too old."""
        claims, _, mac = token.rpartition(".")
        if len(token) > LONGEST or not token.isascii():
            return None
        if not self._seal.fits(_bound(claims, account, call), mac):
            return None
        made, generation, tenant = claims.split(".")
        age = now / 1e6 - int(made, 16) / 1e3
        return Ticket(tenant, int(generation)) if -AHEAD_SECONDS <= age <= TOKEN_SECONDS else None


def _bound(claims: str, account: str, call: str) -> str:
    return f"{claims}\0{account}\0{call}"

"""What admits a stream to its call: a token that any process can make and any other can check.

It names the tenant and the call's generation, and when it was made, under a MAC of a key that the processes share; it
is bound to account and call without naming them. So to hand one out changes nothing and needs no store: asked twice,
``/twilio/continue`` answers the same twice. It is good once because what it admits to, raising the generation that it
names, can be done once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vocelio.gateway.crypto.hmac_signer import HmacSigner

MAX_TOKEN_AGE_SECONDS = 60  # Twilio connects within a second; a late one is not Twilio's
MAX_CLOCK_SKEW_SECONDS = 5  # how far the clocks of two processes may differ
MAX_TOKEN_CHARACTERS = 200  # characters; Twilio's limit of a stream's parameters is 500


@dataclass(frozen=True, slots=True)
class StreamToken:
    """A call's stream to be: whoever raises the ``generation`` of that tenant's call by one has it."""

    tenant: str
    generation: int


class StreamTokens:
    """Makes and checks tokens. ``keys`` are secret texts, newest first; with none, one of this process alone."""

    def __init__(self, signing_keys: Sequence[str] = ()) -> None:
        self._signer = HmacSigner(signing_keys, "stream tokens")

    def issue(self, stream_token: StreamToken, account: str, call: str, now: int) -> str:
        """A token, made ``now`` (microseconds UTC)."""
        claims = f"{now // 1_000:x}.{stream_token.generation}.{stream_token.tenant}"
        return f"{claims}.{self._signer.sign(_signed_text(claims, account, call))}"

    def verify(self, token: str, account: str, call: str, now: int) -> StreamToken | None:
        """What the token admits that account's call to; None when it is not ours, or too old."""
        claims, _, mac = token.rpartition(".")
        if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
            return None
        if not self._signer.verify(_signed_text(claims, account, call), mac):
            return None
        made, generation, tenant = claims.split(".")
        age = now / 1e6 - int(made, 16) / 1e3
        return StreamToken(tenant, int(generation)) if -MAX_CLOCK_SKEW_SECONDS <= age <= MAX_TOKEN_AGE_SECONDS else None


def _signed_text(claims: str, account: str, call: str) -> str:
    return f"{claims}\0{account}\0{call}"

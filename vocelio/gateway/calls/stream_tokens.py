"""Stream tokens admit a media stream to its call: any process issues them, any other verifies them.

A token contains the tenant, the call's generation and its time of issue, signed with a key that the processes share; it
is bound to account and call without naming them. Issuing one changes nothing and needs no store, so that
``/twilio/continue`` can be repeated. It can be used once, since the generation that it names can be raised once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vocelio.gateway.crypto.hmac_signer import HmacSigner

MAX_TOKEN_AGE_SECONDS = 60  # Twilio connects within a second
MAX_CLOCK_SKEW_SECONDS = 5  # between the clocks of two processes
MAX_TOKEN_CHARACTERS = 200  # Twilio's limit for a stream's parameters is 500


@dataclass(frozen=True, slots=True)
class StreamToken:
    """Claims of a token: its stream becomes the call's owner by raising that ``generation`` by one."""

    tenant: str
    generation: int


class StreamTokens:
    """Issues and verifies tokens. ``signing_keys`` are newest first; with none, this process uses a random key."""

    def __init__(self, signing_keys: Sequence[str] = ()) -> None:
        self._signer = HmacSigner(signing_keys, "stream tokens")

    def issue(self, stream_token: StreamToken, account: str, call: str, now: int) -> str:
        """Issue a token at ``now`` (microseconds UTC)."""
        claims = f"{now // 1_000:x}.{stream_token.generation}.{stream_token.tenant}"
        return f"{claims}.{self._signer.sign(_signed_text(claims, account, call))}"

    def verify(self, token: str, account: str, call: str, now: int) -> StreamToken | None:
        """Return the token's claims; None when it is invalid for the account's call, or expired."""
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

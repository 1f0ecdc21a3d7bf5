"""Tokens that admit a media stream to its call: issued by any process, verified by any other, nothing is stored.

A token names the tenant and the call's generation, and is bound to the account and the call. It is single use, since
the stream that presents it raises the generation, which can be done once. Issuing one changes nothing, so
``/twilio/continue`` may be requested twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from vocelio.gateway.crypto import TokenSigner

MAX_TOKEN_AGE_SECONDS = 60  # Twilio connects within a second; a later connection is not Twilio's
MAX_TOKEN_CHARACTERS = 200  # Twilio's limit of all stream parameters together is 500


@dataclass(frozen=True, slots=True)
class StreamToken:
    """Admits a stream to a call of ``tenant`` if it raises the call's ``generation`` by one."""

    tenant: str
    generation: int


class StreamTokens:
    """Issue and verify stream tokens. ``signing_keys`` are secret texts, newest first; see TokenSigner."""

    def __init__(self, signing_keys: Sequence[str] = ()) -> None:
        self._signer = TokenSigner(signing_keys, "stream token")

    def issue(self, stream_token: StreamToken, account: str, call: str, now: int) -> str:
        """Return a token for that account's call, issued ``now`` (microseconds UTC)."""
        value = f"{stream_token.generation}.{stream_token.tenant}"
        return self._signer.sign(value, now, f"{account}\0{call}")

    def verify(self, token: str, account: str, call: str, now: int) -> StreamToken | None:
        """Return what the token admits to, or None if it is invalid, of another call, or too old."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            return None
        value = self._signer.verify(token, now, MAX_TOKEN_AGE_SECONDS, f"{account}\0{call}")
        if value is None:
            return None
        generation, tenant = value.split(".")
        return StreamToken(tenant, int(generation))

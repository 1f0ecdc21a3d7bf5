"""Whose key is used, and where the service is."""

from typing import Any

import msgspec

from vocelio.gateway.speech.ports import CredentialsRefused

OFFICIAL_URL = "https://api.elevenlabs.io"


class ElevenLabsAccount(msgspec.Struct, frozen=True):
    """An API key and the service's address. No representation of it shows the key."""

    key: str
    base_url: str = OFFICIAL_URL

    def __repr__(self) -> str:
        return f"ElevenLabsAccount(base_url={self.base_url!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("base_url", self.base_url)]

    def sendable_key(self) -> str:
        """The key, if it can be put into a header at all. Raises CredentialsRefused."""
        if not self.key or not self.key.isascii() or not self.key.isprintable() or " " in self.key:
            raise CredentialsRefused("the ElevenLabs key is missing or holds characters that no key has")
        return self.key

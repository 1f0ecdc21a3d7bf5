"""The key, as it goes into a header."""

from vocelio.gateway.speech.ports import CredentialsRefused


def sendable(key: str) -> str:
    """The key, if it can be put into a header at all. Raises CredentialsRefused."""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise CredentialsRefused("the ElevenLabs key is missing or holds characters that no key has")
    return key

"""The settings: environment variables, read once into one frozen object.

An unknown VOCELIO_ name is an error, since it is most likely a misspelt one; what Kubernetes puts into the
environment for a service that is called "vocelio" is not ours.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from vocelio.gateway.errors import SettingsError

SIMULATOR_ACCOUNT_SID = "AC" + "0" * 32  # the account of `vocelio call`; no real one has this number
DEFAULT_SECRET_FILE = Path(".vocelio/secret")

_KUBERNETES_NAME = re.compile(r"VOCELIO_(.*_)?(SERVICE_.*|PORT|PORT_.*)")
_SETTING_NAMES = {
    "VOCELIO_CAPACITY",
    "VOCELIO_DATABASE_URL",
    "VOCELIO_KEY",
    "VOCELIO_PUBLIC_URL",
    "VOCELIO_REDIS_URL",
    "VOCELIO_SECRET_KEY",
    "VOCELIO_STORAGE_URL",
}

DEFAULT_DATABASE_URL = "sqlite+aiosqlite:///.vocelio/vocelio.db"
DEFAULT_STORAGE_URL = ".vocelio/storage"
MAX_CAPACITY = 100_000
MIN_KEY_LENGTH = 16  # characters: a random text of that length cannot be guessed

DEFAULT_CAPACITY = 200  # calls: by benchmarks/README.md each costs 4.3 ms of CPU a second, so these are 86% of a core

DEFAULT_ELEVENLABS_URL = "https://api.elevenlabs.io"

_DEFAULT_PORTS = {"https": ":443", "http": ":80"}
_WEBHOOK_KEY_FORMAT = re.compile(rf"(?P<id>[\w-]+):(?P<secret>[!-~]{{{MIN_KEY_LENGTH},}})", re.ASCII)


class AzureSettings(msgspec.Struct, frozen=True):
    """An Azure speech resource: its ``region``, or a ``host`` of one's own (wss://speech.example.com).

    The key is in no representation of it.
    """

    key: str
    region: str = ""
    host: str = ""

    def __repr__(self) -> str:
        return f"Azure({self.region or self.host!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("where", self.region or self.host)]


class ElevenLabsSettings(msgspec.Struct, frozen=True):
    """An ElevenLabs account. The key is in no representation of it."""

    key: str
    base_url: str = DEFAULT_ELEVENLABS_URL

    def __repr__(self) -> str:
        return f"ElevenLabs({self.base_url!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("base_url", self.base_url)]


class Settings(msgspec.Struct, frozen=True):
    """What the environment says. ``tokens`` has the auth token of each Twilio account of the platform's.

    ``secret_keys`` are texts, newest first; ``database_url`` and ``redis_url`` may hold a password; ``key`` is the
    API's, for commands. ``webhook_keys`` are the secrets of Twilio's shared keys, by the key's id. ``capacity`` is how
    many calls one process takes at once.
    """

    public_url: str
    platform_tokens: dict[str, str]
    port: int = 8080
    secret_keys: tuple[str, ...] = ()
    database_url: str = DEFAULT_DATABASE_URL
    api_key: str = ""
    webhook_keys: dict[str, str] = {}
    storage_url: str = DEFAULT_STORAGE_URL
    azure: AzureSettings | None = None
    elevenlabs: ElevenLabsSettings | None = None
    redis_url: str = ""
    max_calls: int = DEFAULT_CAPACITY

    @property
    def origin(self) -> str:
        """``public_url`` as browsers write it (RFC 6454, 6.2); Twilio signs it as it was set."""
        scheme, _, place = self.public_url.lower().partition("://")
        return f"{scheme}://{place.rpartition('@')[2].removesuffix(_DEFAULT_PORTS[scheme])}"

    def __repr__(self) -> str:
        return f"Settings(public_url={self.public_url!r}, accounts={sorted(self.platform_tokens)}, port={self.port})"


def load_settings(environment: Mapping[str, str], secret_file: Path = DEFAULT_SECRET_FILE) -> Settings:
    """The settings. Raises SettingsError, naming the variable.

    Without a Twilio token only the simulator is answered (and the tenants' own accounts): `vocelio call` and `vocelio
    serve` share a token made from VOCELIO_SECRET_KEY, or else from a file that only its owner can read.
    """
    unknown = sorted(
        name
        for name in environment
        if name.startswith("VOCELIO_") and name not in _SETTING_NAMES and not _KUBERNETES_NAME.fullmatch(name)
    )
    if unknown:
        raise SettingsError(f"there is no setting {', '.join(unknown)}; there are: {', '.join(sorted(_SETTING_NAMES))}")
    port = _parse_port(environment.get("PORT", "8080"))
    public_url = _parse_public_url(environment.get("VOCELIO_PUBLIC_URL") or f"http://localhost:{port}")
    keys = _secret_keys(environment.get("VOCELIO_SECRET_KEY") or _load_secret(secret_file))
    return Settings(
        public_url,
        _platform_tokens(environment, keys[0]),
        port,
        keys,
        environment.get("VOCELIO_DATABASE_URL") or DEFAULT_DATABASE_URL,
        environment.get("VOCELIO_KEY", ""),
        _webhook_keys(environment),
        environment.get("VOCELIO_STORAGE_URL") or DEFAULT_STORAGE_URL,
        _azure(environment),
        _elevenlabs(environment),
        _redis_url(environment.get("VOCELIO_REDIS_URL", "").strip()),
        _parse_max_calls(environment.get("VOCELIO_CAPACITY") or str(DEFAULT_CAPACITY)),
    )


def _azure(environment: Mapping[str, str]) -> AzureSettings | None:
    names = ("AZURE_SPEECH_KEY", "AZURE_SPEECH_REGION", "AZURE_SPEECH_HOST")
    key, region, host = (environment.get(name, "").strip() for name in names)
    if not key and not region and not host:
        return None
    if bool(region) == bool(host):
        raise SettingsError("AZURE_SPEECH_KEY goes with AZURE_SPEECH_REGION (westeurope) or else AZURE_SPEECH_HOST")
    if region and not re.fullmatch(r"[a-z0-9]+", region):
        raise SettingsError(f"AZURE_SPEECH_REGION is a region's short name such as westeurope, not {region!r}")
    if host and (urlsplit(host).scheme not in ("wss", "ws") or not urlsplit(host).hostname):
        raise SettingsError(f"AZURE_SPEECH_HOST is a host such as wss://speech.example.com, not {host!r}")
    return AzureSettings(key, region, host.rstrip("/"))


def _elevenlabs(environment: Mapping[str, str]) -> ElevenLabsSettings | None:
    key, url = environment.get("ELEVENLABS_API_KEY", "").strip(), environment.get("ELEVENLABS_BASE_URL", "").strip()
    if url and (urlsplit(url).scheme not in ("https", "http") or not urlsplit(url).hostname):
        raise SettingsError(f"ELEVENLABS_BASE_URL is an address such as {DEFAULT_ELEVENLABS_URL}, not {url!r}")
    return ElevenLabsSettings(key, url.rstrip("/") or DEFAULT_ELEVENLABS_URL) if key or url else None


def _redis_url(url: str) -> str:
    """No message shows it: it may hold a password."""
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in ("redis", "rediss", "unix") or not (parts.hostname or parts.path)
        _ = parts.port
    except ValueError:
        wrong = True
    if url and wrong:
        raise SettingsError("VOCELIO_REDIS_URL is an address such as redis://:PASSWORD@redis.example.com:6379/0")
    return url


def _secret_keys(text: str) -> tuple[str, ...]:
    keys = tuple(text.replace(",", " ").split())
    if not keys or min(map(len, keys)) < MIN_KEY_LENGTH:
        raise SettingsError(
            f"VOCELIO_SECRET_KEY is one or more random texts of at least {MIN_KEY_LENGTH} characters, newest first, "
            "with commas in between"
        )
    return keys


def _platform_tokens(environment: Mapping[str, str], secret_key: str) -> dict[str, str]:
    account, token = environment.get("TWILIO_ACCOUNT_SID", ""), environment.get("TWILIO_AUTH_TOKEN", "")
    if bool(account) != bool(token):
        raise SettingsError("TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN go together: one of them is missing")
    if token:
        if not re.fullmatch(r"AC[0-9a-f]{32}", account):
            raise SettingsError("TWILIO_ACCOUNT_SID is AC and 32 hexadecimal digits")
        return {account: token}
    return {SIMULATOR_ACCOUNT_SID: hmac.digest(secret_key.encode(), b"vocelio: simulator", hashlib.sha256).hex()}


def _webhook_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Twilio's shared keys, ID:SECRET with commas in between. No message shows anything of an entry: it is secret."""
    entries = [entry.strip() for entry in environment.get("TWILIO_WEBHOOK_KEYS", "").split(",")]
    if entries == [""]:
        return {}
    if not environment.get("TWILIO_ACCOUNT_SID"):
        raise SettingsError("TWILIO_WEBHOOK_KEYS belong to an account: TWILIO_ACCOUNT_SID is missing")
    keys: dict[str, str] = {}
    for number, entry in enumerate(entries, 1):
        match = _WEBHOOK_KEY_FORMAT.fullmatch(entry)
        if not match:
            raise SettingsError(
                f"TWILIO_WEBHOOK_KEYS is ID:SECRET,ID:SECRET with secrets of at least {MIN_KEY_LENGTH} characters: "
                f"entry {number} is not"
            )
        if match["id"] in keys:
            raise SettingsError(f"TWILIO_WEBHOOK_KEYS has the key of entry {number} twice")
        keys[match["id"]] = match["secret"]
    return keys


def _load_secret(file: Path) -> str:
    if not file.exists():
        _create_secret_file(file)
    secret = file.read_text().strip()
    if len(secret) < 32:
        raise SettingsError(f"{file} holds no secret: delete it, and a new one is made")
    return secret


def _create_secret_file(file: Path) -> None:
    """Whole or not at all, and the first of two processes wins."""
    file.parent.mkdir(parents=True, exist_ok=True)
    made = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    made.touch(mode=0o600)
    made.write_text(secrets.token_hex(32))
    try:
        os.link(made, file)
    except FileExistsError:
        pass  # another process was first: its secret is the one
    finally:
        made.unlink()


def _parse_max_calls(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= MAX_CAPACITY:
        raise SettingsError(f"VOCELIO_CAPACITY is a number of calls from 1 to {MAX_CAPACITY}, not {text!r}")
    return int(text)


def _parse_port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise SettingsError(f"PORT is a port number, not {text!r}")
    return int(text)


def _parse_public_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise SettingsError(f"VOCELIO_PUBLIC_URL is an origin such as https://voice.example.com, not {url!r}")
    return f"{parts.scheme}://{parts.netloc}"

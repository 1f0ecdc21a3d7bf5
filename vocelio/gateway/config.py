"""Settings: environment variables, read once into one frozen object.

An unknown VOCELIO_ variable is an error, since it is most likely misspelled; the variables that Kubernetes injects for
a service named "vocelio" are ignored. No error message and no representation may show a secret.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from vocelio.gateway.errors import SettingsError

SIMULATOR_ACCOUNT_SID = "AC" + "0" * 32  # of `vocelio call`; no real account has this SID
DEFAULT_SECRET_FILE = Path(".vocelio/secret")

Network = IPv4Network | IPv6Network

_KUBERNETES_NAME = re.compile(r"VOCELIO_(.*_)?(SERVICE_.*|PORT|PORT_.*)")
_SETTING_NAMES = {
    "VOCELIO_BLOCKED_NETWORKS",
    "VOCELIO_DATABASE_URL",
    "VOCELIO_KEY",
    "VOCELIO_MAX_CALLS",
    "VOCELIO_MAX_CONNECTIONS_PER_ADDRESS",
    "VOCELIO_PUBLIC_URL",
    "VOCELIO_REDIS_URL",
    "VOCELIO_SECRET_KEYS",
    "VOCELIO_STORAGE_URL",
    "VOCELIO_TRUSTED_PROXIES",
}

DEFAULT_DATABASE_URL = "sqlite+aiosqlite:///.vocelio/vocelio.db"
DEFAULT_STORAGE_URL = ".vocelio/storage"
MAX_CAPACITY = 100_000  # calls of one process, far beyond what any machine can take
MIN_KEY_LENGTH = 16  # characters: a random text of this length cannot be guessed

DEFAULT_CAPACITY = 200  # calls: each costs 4.3 ms of CPU per second (benchmarks/README.md), so these use 86% of a core

DEFAULT_CONNECTIONS_PER_ADDRESS = 1_000  # Twilio's calls come from few addresses, a company's monitors from one
CONNECTIONS_PER_CALL = 3  # its stream, a webhook, a status callback
MAX_CONNECTIONS_PER_ADDRESS = 1_000_000

DEFAULT_ELEVENLABS_URL = "https://api.elevenlabs.io"

_DEFAULT_PORTS = {"https": ":443", "http": ":80"}
_WEBHOOK_KEY_FORMAT = re.compile(rf"(?P<id>[\w-]+):(?P<secret>[!-~]{{{MIN_KEY_LENGTH},}})", re.ASCII)


class AzureSettings(msgspec.Struct, frozen=True):
    """An Azure speech resource: its ``region``, or a custom ``host`` (wss://speech.example.com)."""

    key: str
    region: str = ""
    host: str = ""

    def __repr__(self) -> str:
        return f"Azure({self.region or self.host!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("where", self.region or self.host)]


class ElevenLabsSettings(msgspec.Struct, frozen=True):
    """An ElevenLabs account."""

    key: str
    base_url: str = DEFAULT_ELEVENLABS_URL

    def __repr__(self) -> str:
        return f"ElevenLabs({self.base_url!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("base_url", self.base_url)]


class Settings(msgspec.Struct, frozen=True):
    """The gateway's settings.

    Attributes:
        platform_tokens: The auth token of each of the platform's own Twilio accounts, by account SID.
        secret_keys: Keys for encryption and signed tokens, newest first.
        database_url: May contain a password, as ``redis_url`` may.
        api_key: The API key that commands send.
        webhook_keys: The secrets of Twilio's shared keys, by key id.
        max_calls: Calls that one process accepts at once.
        trusted_proxies: Networks whose X-Forwarded-For is believed, and whose connections are limited in total only.
        max_connections_per_address: Connections that one process accepts from one client address.
        blocked_networks: Networks that requests of flows may not reach, in addition to all reserved ones.
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
    trusted_proxies: tuple[Network, ...] = ()
    max_connections_per_address: int = DEFAULT_CONNECTIONS_PER_ADDRESS
    blocked_networks: tuple[Network, ...] = ()

    @property
    def origin(self) -> str:
        """``public_url`` as browsers serialize an origin (RFC 6454, 6.2); Twilio signs the URL as it was set."""
        scheme, _, authority = self.public_url.lower().partition("://")
        return f"{scheme}://{authority.rpartition('@')[2].removesuffix(_DEFAULT_PORTS[scheme])}"

    def __repr__(self) -> str:
        return f"Settings(public_url={self.public_url!r}, accounts={sorted(self.platform_tokens)}, port={self.port})"


def load_settings(environment: Mapping[str, str], secret_file: Path = DEFAULT_SECRET_FILE) -> Settings:
    """Read the settings. Raises SettingsError, which names the variable.

    Without a Twilio token only the simulator and the tenants' own accounts are answered: `vocelio call` and `vocelio
    serve` share a token derived from VOCELIO_SECRET_KEYS, or else from a file that only its owner can read.
    """
    unknown = sorted(
        name
        for name in environment
        if name.startswith("VOCELIO_") and name not in _SETTING_NAMES and not _KUBERNETES_NAME.fullmatch(name)
    )
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; known are: {', '.join(sorted(_SETTING_NAMES))}")
    port = _parse_port(environment.get("PORT", "8080"))
    public_url = _parse_public_url(environment.get("VOCELIO_PUBLIC_URL") or f"http://localhost:{port}")
    max_calls = _parse_count(environment, "VOCELIO_MAX_CALLS", DEFAULT_CAPACITY, MAX_CAPACITY)
    default_connections = max(DEFAULT_CONNECTIONS_PER_ADDRESS, CONNECTIONS_PER_CALL * max_calls)
    keys = _secret_keys(environment.get("VOCELIO_SECRET_KEYS") or _load_secret(secret_file))
    platform_tokens = _platform_tokens(environment, keys[0])
    _require_https_for_twilio(public_url, platform_tokens)
    return Settings(
        public_url,
        platform_tokens,
        port,
        keys,
        environment.get("VOCELIO_DATABASE_URL") or DEFAULT_DATABASE_URL,
        environment.get("VOCELIO_KEY", ""),
        _webhook_keys(environment),
        environment.get("VOCELIO_STORAGE_URL") or DEFAULT_STORAGE_URL,
        _azure(environment),
        _elevenlabs(environment),
        _redis_url(environment.get("VOCELIO_REDIS_URL", "").strip()),
        max_calls,
        _parse_networks(environment, "VOCELIO_TRUSTED_PROXIES"),
        _parse_count(
            environment, "VOCELIO_MAX_CONNECTIONS_PER_ADDRESS", default_connections, MAX_CONNECTIONS_PER_ADDRESS
        ),
        _parse_networks(environment, "VOCELIO_BLOCKED_NETWORKS"),
    )


def _azure(environment: Mapping[str, str]) -> AzureSettings | None:
    names = ("AZURE_SPEECH_KEY", "AZURE_SPEECH_REGION", "AZURE_SPEECH_HOST")
    key, region, host = (environment.get(name, "").strip() for name in names)
    if not key and not region and not host:
        return None
    if bool(region) == bool(host):
        raise SettingsError("AZURE_SPEECH_KEY needs AZURE_SPEECH_REGION (westeurope) or else AZURE_SPEECH_HOST")
    if region and not re.fullmatch(r"[a-z0-9]+", region):
        raise SettingsError(f"AZURE_SPEECH_REGION must be a region's short name such as westeurope, not {region!r}")
    if host and (urlsplit(host).scheme not in ("wss", "ws") or not urlsplit(host).hostname):
        raise SettingsError(f"AZURE_SPEECH_HOST must be a host such as wss://speech.example.com, not {host!r}")
    return AzureSettings(key, region, host.rstrip("/"))


def _elevenlabs(environment: Mapping[str, str]) -> ElevenLabsSettings | None:
    key, url = environment.get("ELEVENLABS_API_KEY", "").strip(), environment.get("ELEVENLABS_BASE_URL", "").strip()
    if url and (urlsplit(url).scheme not in ("https", "http") or not urlsplit(url).hostname):
        raise SettingsError(f"ELEVENLABS_BASE_URL must be a URL such as {DEFAULT_ELEVENLABS_URL}, not {url!r}")
    return ElevenLabsSettings(key, url.rstrip("/") or DEFAULT_ELEVENLABS_URL) if key or url else None


def _redis_url(url: str) -> str:
    """Validate the URL. No error message shows it, since it may contain a password."""
    try:
        parts = urlsplit(url)
        invalid = parts.scheme not in ("redis", "rediss", "unix") or not (parts.hostname or parts.path)
        _ = parts.port
    except ValueError:
        invalid = True
    if url and invalid:
        raise SettingsError("VOCELIO_REDIS_URL must be a URL such as redis://:PASSWORD@redis.example.com:6379/0")
    return url


def _secret_keys(text: str) -> tuple[str, ...]:
    keys = tuple(text.replace(",", " ").split())
    if not keys or min(map(len, keys)) < MIN_KEY_LENGTH:
        raise SettingsError(
            f"VOCELIO_SECRET_KEYS must be random texts of at least {MIN_KEY_LENGTH} characters each, newest first, "
            "separated by commas"
        )
    return keys


def _platform_tokens(environment: Mapping[str, str], secret_key: str) -> dict[str, str]:
    account, token = environment.get("TWILIO_ACCOUNT_SID", ""), environment.get("TWILIO_AUTH_TOKEN", "")
    if bool(account) != bool(token):
        raise SettingsError("TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN go together: one of them is missing")
    if token:
        if not re.fullmatch(r"AC[0-9a-f]{32}", account):
            raise SettingsError("TWILIO_ACCOUNT_SID must be AC and 32 hexadecimal digits")
        return {account: token}
    return {SIMULATOR_ACCOUNT_SID: hmac.digest(secret_key.encode(), b"vocelio: simulator", hashlib.sha256).hex()}


def _require_https_for_twilio(public_url: str, platform_tokens: Mapping[str, str]) -> None:
    """Reject a real account with a public URL that is not https: numbers in production would be pointed at it."""
    if SIMULATOR_ACCOUNT_SID not in platform_tokens and not public_url.startswith("https://"):
        raise SettingsError(
            f"with TWILIO_ACCOUNT_SID, VOCELIO_PUBLIC_URL must be the https origin under which Twilio reaches the "
            f"gateway, not {public_url!r}; to use the simulator only, unset TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"
        )


def _webhook_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Parse Twilio's shared keys, ID:SECRET separated by commas. No error message shows any of an entry."""
    entries = [entry.strip() for entry in environment.get("TWILIO_WEBHOOK_KEYS", "").split(",")]
    if entries == [""]:
        return {}
    if not environment.get("TWILIO_ACCOUNT_SID"):
        raise SettingsError("TWILIO_WEBHOOK_KEYS needs the account: TWILIO_ACCOUNT_SID is missing")
    keys: dict[str, str] = {}
    for number, entry in enumerate(entries, 1):
        match = _WEBHOOK_KEY_FORMAT.fullmatch(entry)
        if not match:
            raise SettingsError(
                f"TWILIO_WEBHOOK_KEYS must be ID:SECRET,ID:SECRET with secrets of at least {MIN_KEY_LENGTH} "
                f"characters: entry {number} is not"
            )
        if match["id"] in keys:
            raise SettingsError(f"TWILIO_WEBHOOK_KEYS contains the key id of entry {number} twice")
        keys[match["id"]] = match["secret"]
    return keys


def _load_secret(file: Path) -> str:
    if not file.exists():
        _create_secret_file(file)
    secret = file.read_text().strip()
    if len(secret) < 32:
        raise SettingsError(f"{file} contains no valid secret; delete it to have a new one created")
    return secret


def _create_secret_file(file: Path) -> None:
    """Create the file atomically; of two processes the first one wins."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    temporary.touch(mode=0o600)
    temporary.write_text(secrets.token_hex(32))
    try:
        os.link(temporary, file)
    except FileExistsError:
        pass  # another process was first: its secret is used
    finally:
        temporary.unlink()


def _parse_count(environment: Mapping[str, str], name: str, default: int, highest: int) -> int:
    text = environment.get(name) or str(default)
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= highest:
        raise SettingsError(f"{name} must be a number from 1 to {highest}, not {text!r}")
    return int(text)


def _parse_networks(environment: Mapping[str, str], name: str) -> tuple[Network, ...]:
    """Parse addresses and networks, separated by commas or spaces."""
    try:
        return tuple(ip_network(text) for text in environment.get(name, "").replace(",", " ").split())
    except ValueError as error:
        raise SettingsError(f"{name} must be networks such as 10.0.0.0/8,2001:db8::/32: {error}") from None


def _parse_port(text: str) -> int:
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise SettingsError(f"PORT must be a port number, not {text!r}")
    return int(text)


def _parse_public_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise SettingsError(f"VOCELIO_PUBLIC_URL must be an origin such as https://voice.example.com, not {url!r}")
    return f"{parts.scheme}://{parts.netloc}"

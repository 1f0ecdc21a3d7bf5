"""One tenant's numbers, departments, flows and sounds, read from a folder.

The folder has ``site.json``, ``flows/*.json`` and ``sounds/*.wav`` (16-bit, any rate).

Whoever asks, asks the ``Site`` port; the database takes its place behind it.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from vocelio.codecs import mulaw, wav
from vocelio.codecs.resample import Resampler
from vocelio.engine.facts import E164
from vocelio.engine.flow import FlowVersion, Known
from vocelio.engine.hours import OpeningHours
from vocelio.engine.library import check_all
from vocelio.gateway.errors import SiteError

PhoneNumber = Annotated[str, Meta(pattern=f"^{E164.pattern}$")]

DEFAULT_APOLOGY = "Sorry, this number is not in service. Please check it and call again. Goodbye."
MAX_SOUND = 30_000_000  # bytes of a WAV: five minutes at 48 kHz
RINGING = 20.0  # seconds: about four rings


class Tenant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The client company. ``time_zone`` is an IANA name; empty is UTC."""

    id: Annotated[str, Meta(pattern="^[a-z0-9-]{1,40}$")]
    name: str
    time_zone: str = ""
    variables: dict[str, str] = {}
    apology: str = "Sorry, something went wrong. Please call again later. Goodbye."


class Department(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a transfer rings: ``timeout`` seconds each in turn, or all together; who answers hears ``whisper``."""

    numbers: Annotated[tuple[PhoneNumber, ...], Meta(min_length=1, max_length=10)]
    timeout: Annotated[float, Meta(ge=5, le=600)] = RINGING
    ring: Literal["in_turn", "together"] = "in_turn"
    whisper: str = ""
    hours: OpeningHours | None = None


class Assignment(msgspec.Struct, frozen=True):
    """What a number leads to."""

    number: str
    tenant: Tenant
    flow: str
    version: FlowVersion


class Site(Protocol):
    """What a call needs to know before it begins, and when it is transferred."""

    def assignment(self, number: str) -> Assignment | None:
        """The flow behind a number (E.164), if there is one."""
        ...

    def departments(self, tenant: str) -> dict[str, Department]:
        """The tenant's departments by name."""
        ...

    def sound(self, tenant: str, name: str) -> bytes | None:
        """A stored sound of the tenant's, mu-law."""
        ...


class _Number(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    flow: str


class SiteFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``site.json``."""

    tenant: Tenant
    numbers: dict[PhoneNumber, _Number]
    departments: dict[str, Department] = {}


class FolderSite:
    """The site of one folder, read whole when it is made. Raises SiteError with every problem."""

    def __init__(self, folder: Path) -> None:
        self._file = _site_file(folder / "site.json")
        problems: list[str] = []
        self._flows = flows = _flows(folder / "flows", self._file.departments, problems)
        for number, target in self._file.numbers.items():
            if target.flow not in flows:
                there = ", ".join(sorted(flows)) or "none"
                problems.append(f"site.json: numbers.{number}.flow: no flow `{target.flow}` (there are: {there})")
        self._sounds = _sounds(folder / "sounds", problems)
        if problems:
            raise SiteError("\n".join(problems))
        self._assignments = {
            number: Assignment(number, self._file.tenant, target.flow, flows[target.flow])
            for number, target in self._file.numbers.items()
        }

    @property
    def tenant(self) -> Tenant:
        """The folder's one tenant."""
        return self._file.tenant

    @property
    def numbers(self) -> list[str]:
        """The numbers that are answered."""
        return list(self._assignments)

    @property
    def versions(self) -> list[FlowVersion]:
        """Every flow of the folder."""
        return list(self._flows.values())

    def assignment(self, number: str) -> Assignment | None:
        """See Site."""
        return self._assignments.get(number)

    def departments(self, tenant: str) -> dict[str, Department]:
        """See Site."""
        return self._file.departments if tenant == self._file.tenant.id else {}


    def sound(self, tenant: str, name: str) -> bytes | None:
        """See Site."""
        return self._sounds.get(name) if tenant == self._file.tenant.id else None


def _sounds(folder: Path, problems: list[str]) -> dict[str, bytes]:
    sounds: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.wav")):
        if path.stat().st_size > MAX_SOUND:
            problems.append(f"sounds/{path.name}: larger than {MAX_SOUND:,} bytes")
            continue
        try:
            pcm, rate = wav.read(path)
        except wav.WavError as error:
            problems.append(f"sounds/{path.name}: {error}")
            continue
        telephone = Resampler(rate, mulaw.SAMPLE_RATE).process(pcm, last=True) if rate != mulaw.SAMPLE_RATE else pcm
        sounds[path.stem] = mulaw.encode(telephone)
    return sounds


def _site_file(path: Path) -> SiteFile:
    try:
        return msgspec.json.decode(path.read_bytes(), type=SiteFile)
    except OSError as error:
        raise SiteError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise SiteError(f"{path}: {error}") from error


def _flows(folder: Path, departments: Collection[str], problems: list[str]) -> dict[str, FlowVersion]:
    documents = {path.stem: path.read_bytes() for path in sorted(folder.glob("*.json"))}
    flows: dict[str, FlowVersion] = {}
    for name, (version, found) in check_all(documents, Known(departments=departments)).items():
        if version:
            flows[name] = version
        problems.extend(f"flows/{name}.json: {problem}" for problem in found if problem.severity == "error")
    return flows

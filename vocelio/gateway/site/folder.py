"""A site folder: one tenant's numbers, departments, flows and sounds as files.

The demo answers calls from it directly; ``vocelio serve --site`` and ``vocelio site apply`` bring it into a database.
It contains ``site.json``, ``flows/*.json`` and ``sounds/*.wav`` (16-bit, any sample rate).
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from vocelio.codecs import wav
from vocelio.codecs.telephony import MAX_SOUND_BYTES, wav_to_mulaw
from vocelio.engine.flow import FlowVersion, ValidationContext
from vocelio.engine.validation.loader import validate_all
from vocelio.gateway.dialing import validation
from vocelio.gateway.dialing.validation import DialContext
from vocelio.gateway.errors import SiteFolderError
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.model.types import PhoneNumber
from vocelio.gateway.store.in_memory import InMemoryCallStore, InMemoryDirectory


class _NumberEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    flow: str


class SiteFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The contents of ``site.json``."""

    tenant: Tenant
    numbers: dict[PhoneNumber, _NumberEntry]
    departments: dict[str, Department] = {}


class SiteFolder:
    """The contents of a folder, read completely at construction. Raises SiteFolderError with every problem.

    ``named_settings`` are the tenant's settings in ``site.json``, which ``tenant`` completes with defaults;
    ``documents`` are the flows as written, ``flows`` the compiled ones; ``numbers`` maps numbers to flows; ``sounds``
    are mu-law.
    """

    def __init__(self, root: Path) -> None:
        file, self.named_settings = _load_site_file(root / "site.json")
        self.tenant, self.departments = file.tenant, file.departments
        self.numbers = {number: target.flow for number, target in file.numbers.items()}
        self.documents = {path.stem: path.read_bytes().strip() for path in sorted((root / "flows").glob("*.json"))}
        problems: list[str] = []
        self.flows = _load_flows(self.documents, self.departments, problems)
        for number, flow in self.numbers.items():
            if flow not in self.flows:
                names = ", ".join(sorted(self.flows)) or "none"
                problems.append(f"site.json: numbers.{number}.flow: unknown flow `{flow}` (flows: {names})")
        self.sounds = _load_sounds(root / "sounds", problems)
        problems.extend(self._check_dial_targets())
        if problems:
            raise SiteFolderError("\n".join(problems))

    def _check_dial_targets(self) -> Iterator[str]:
        """Yield the targets of departments and flows that the dial rules do not allow."""
        context = DialContext(self.tenant, validation.find_home_countries(self.numbers), frozenset(self.numbers))
        for name, department in self.departments.items():
            for problem in validation.check_department(context, department):
                yield f"site.json: departments.{name}.{problem}"
        for name, document in self.documents.items():
            for problem in validation.check_flow(context, {}, validation.find_targets(document)):
                yield f"flows/{name}.json: {problem}"

    def to_directory(self, call_store: InMemoryCallStore | None = None) -> InMemoryDirectory:
        """Create a directory of the folder; transfers are counted from ``call_store``."""
        configs = [
            CallConfig(
                number=number,
                tenant=self.tenant,
                flow=flow,
                version=self.flows[flow],
                departments=self.departments,
                sounds=self.sounds,
            )
            for number, flow in self.numbers.items()
        ]
        return InMemoryDirectory(configs, call_store=call_store)


def _load_sounds(folder: Path, problems: list[str]) -> dict[str, bytes]:
    sounds: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.wav")):
        if path.stat().st_size > MAX_SOUND_BYTES:
            problems.append(f"sounds/{path.name}: larger than {MAX_SOUND_BYTES:,} bytes")
            continue
        try:
            sounds[path.stem] = wav_to_mulaw(path.read_bytes())
        except wav.WavError as error:
            problems.append(f"sounds/{path.name}: {error}")
    return sounds


class _NamedSettings(msgspec.Struct, frozen=True):
    tenant: dict[str, Any]


def _load_site_file(path: Path) -> tuple[SiteFile, frozenset[str]]:
    """Return the contents, and the names of the tenant's settings that they contain."""
    try:
        content = path.read_bytes()
        named = msgspec.json.decode(content, type=_NamedSettings).tenant.keys() - {"id"}
        return msgspec.json.decode(content, type=SiteFile), frozenset(named)
    except OSError as error:
        raise SiteFolderError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise SiteFolderError(f"{path}: {error}") from error


def _load_flows(
    documents: Mapping[str, bytes], departments: Collection[str], problems: list[str]
) -> dict[str, FlowVersion]:
    flows: dict[str, FlowVersion] = {}
    for name, (version, found) in validate_all(documents, ValidationContext(departments=departments)).items():
        if version:
            flows[name] = version
        problems.extend(f"flows/{name}.json: {problem}" for problem in found if problem.severity == "error")
    return flows

"""One tenant's numbers, departments, flows and sounds, read from a folder: what the demo answers with, and what a
database can be filled from.

The folder has ``site.json``, ``flows/*.json`` and ``sounds/*.wav`` (16-bit, any rate).
"""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import msgspec

from vocelio.codecs import wav
from vocelio.codecs.telephony import MAX_SOUND, telephone
from vocelio.engine.flow import FlowVersion, Known
from vocelio.engine.validation.flow_set import check_all
from vocelio.gateway.dialing import validation
from vocelio.gateway.dialing.validation import Rules
from vocelio.gateway.errors import SiteError
from vocelio.gateway.model.directory import Assignment
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.model.types import PhoneNumber
from vocelio.gateway.store.in_memory import MemoryJournal, MemorySite


class _Number(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    flow: str


class SiteFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``site.json``."""

    tenant: Tenant
    numbers: dict[PhoneNumber, _Number]
    departments: dict[str, Department] = {}


class Folder:
    """What is in one folder, read whole when this is made. Raises SiteError with every problem.

    ``documents`` are the flows as written, ``flows`` the same, checked; ``numbers`` say which flow each leads to;
    ``sounds`` are mu-law.
    """

    def __init__(self, folder: Path) -> None:
        file = _site_file(folder / "site.json")
        self.tenant, self.departments = file.tenant, file.departments
        self.numbers = {number: target.flow for number, target in file.numbers.items()}
        self.documents = {path.stem: path.read_bytes().strip() for path in sorted((folder / "flows").glob("*.json"))}
        problems: list[str] = []
        self.flows = _flows(self.documents, self.departments, problems)
        for number, flow in self.numbers.items():
            if flow not in self.flows:
                there = ", ".join(sorted(self.flows)) or "none"
                problems.append(f"site.json: numbers.{number}.flow: no flow `{flow}` (there are: {there})")
        self.sounds = _sounds(folder / "sounds", problems)
        problems.extend(self._unreachable())
        if problems:
            raise SiteError("\n".join(problems))

    def _unreachable(self) -> Iterator[str]:
        """Whom departments and flows name and calls would not ring."""
        rules = Rules(self.tenant, validation.home_of(self.numbers), frozenset(self.numbers))
        for name, department in self.departments.items():
            for problem in validation.of_department(rules, department):
                yield f"site.json: departments.{name}.{problem}"
        for name, document in self.documents.items():
            for problem in validation.of_flow(rules, {}, validation.named(document)):
                yield f"flows/{name}.json: {problem}"

    def site(self, journal: MemoryJournal | None = None) -> MemorySite:
        """The same, to be asked by calls; ``journal`` is where their transfers are counted."""
        assignments = [
            Assignment(
                number=number,
                tenant=self.tenant,
                flow=flow,
                version=self.flows[flow],
                departments=self.departments,
                sounds=self.sounds,
            )
            for number, flow in self.numbers.items()
        ]
        return MemorySite(assignments, journal=journal)


def _sounds(folder: Path, problems: list[str]) -> dict[str, bytes]:
    sounds: dict[str, bytes] = {}
    for path in sorted(folder.glob("*.wav")):
        if path.stat().st_size > MAX_SOUND:
            problems.append(f"sounds/{path.name}: larger than {MAX_SOUND:,} bytes")
            continue
        try:
            sounds[path.stem] = telephone(path.read_bytes())
        except wav.WavError as error:
            problems.append(f"sounds/{path.name}: {error}")
    return sounds


def _site_file(path: Path) -> SiteFile:
    try:
        return msgspec.json.decode(path.read_bytes(), type=SiteFile)
    except OSError as error:
        raise SiteError(f"{path}: cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise SiteError(f"{path}: {error}") from error


def _flows(documents: Mapping[str, bytes], departments: Collection[str], problems: list[str]) -> dict[str, FlowVersion]:
    flows: dict[str, FlowVersion] = {}
    for name, (version, found) in check_all(documents, Known(departments=departments)).items():
        if version:
            flows[name] = version
        problems.extend(f"flows/{name}.json: {problem}" for problem in found if problem.severity == "error")
    return flows

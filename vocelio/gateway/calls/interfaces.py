"""What a live call needs of the world around it."""

from dataclasses import dataclass, field
from typing import Protocol

from vocelio.engine.flow import FlowVersion
from vocelio.gateway.clock import WallClock
from vocelio.gateway.events import EventBus
from vocelio.gateway.http_client.client import Fetcher
from vocelio.gateway.metrics import Metrics
from vocelio.gateway.model.directory import Site
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.recordings.service import Recordings, in_memory
from vocelio.gateway.speech.services import Speech
from vocelio.gateway.store.calls.interface import Journal


class Transport(Protocol):
    """The way to the peer of one media socket."""

    def send(self, message: str) -> None:
        """Send soon, in order. Never blocks; a peer that does not read is closed instead."""

    def close(self, code: int, reason: str = "") -> None:
        """Close once everything sent before has gone out. Harmless when closed already."""


class Prompts(Protocol):
    """What was rendered of flows' prompts."""

    async def prepare(self, tenant: Tenant, version: FlowVersion) -> None:
        """A call begins: have what it may say at hand. Raises nothing."""


class NoPrompts:
    """Nothing was."""

    async def prepare(self, tenant: Tenant, version: FlowVersion) -> None:
        """See Prompts."""


@dataclass(frozen=True)
class Services:
    """What all calls of a process share."""

    site: Site
    speech: Speech
    bus: EventBus
    fetcher: Fetcher
    journal: Journal
    wall: WallClock
    recordings: Recordings = field(default_factory=in_memory)
    metrics: Metrics = field(default_factory=Metrics)
    prompts: Prompts = field(default_factory=NoPrompts)

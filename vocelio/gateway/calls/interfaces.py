"""What a live call needs of the world around it."""

from dataclasses import dataclass, field
from typing import Protocol

from vocelio.engine.flow import FlowVersion
from vocelio.gateway.clock import WallClock
from vocelio.gateway.events import EventBus
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.metrics import Metrics
from vocelio.gateway.model.directory import Directory
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.recordings.service import RecordingService, in_memory_recordings
from vocelio.gateway.speech.providers import SpeechServices
from vocelio.gateway.store.calls.interface import CallStore


class Transport(Protocol):
    """The way to the peer of one media socket."""

    def send(self, message: str) -> None:
        """Send soon, in order. Never blocks; a peer that does not read is closed instead."""

    def close(self, code: int, reason: str = "") -> None:
        """Close once everything sent before has gone out. Harmless when closed already."""


class PromptPreloader(Protocol):
    """What was rendered of flows' prompts."""

    async def preload(self, tenant: Tenant, version: FlowVersion) -> None:
        """A call begins: have what it may say at hand. Raises nothing."""


class NoPreloader:
    """Nothing was."""

    async def preload(self, tenant: Tenant, version: FlowVersion) -> None:
        """See Prompts."""


@dataclass(frozen=True)
class CallServices:
    """What all calls of a process share."""

    directory: Directory
    speech: SpeechServices
    bus: EventBus
    http_client: HttpClient
    call_store: CallStore
    wall_clock: WallClock
    recordings: RecordingService = field(default_factory=in_memory_recordings)
    metrics: Metrics = field(default_factory=Metrics)
    prompt_preloader: PromptPreloader = field(default_factory=NoPreloader)

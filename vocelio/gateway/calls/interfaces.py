"""What calls need of their environment: the transport of a media socket, and the services of the process."""

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
    """Sends to the peer of one media socket."""

    def send(self, message: str) -> None:
        """Send soon, in order. Never blocks: the socket of a peer that does not read is closed."""

    def close(self, code: int, reason: str = "") -> None:
        """Close after everything that was sent. No-op when closed already."""


class PromptPreloader(Protocol):
    """Fetches pre-rendered prompts."""

    async def preload(self, tenant: Tenant, version: FlowVersion) -> None:
        """Fetch the prompts that a call of the version may play. Raises nothing."""


class NoPreloader:
    """Preloads nothing."""

    async def preload(self, tenant: Tenant, version: FlowVersion) -> None:
        pass


@dataclass(frozen=True)
class CallServices:
    """Services that all calls of a process share."""

    directory: Directory
    speech: SpeechServices
    bus: EventBus
    http_client: HttpClient
    call_store: CallStore
    wall_clock: WallClock
    recordings: RecordingService = field(default_factory=in_memory_recordings)
    metrics: Metrics = field(default_factory=Metrics)
    prompt_preloader: PromptPreloader = field(default_factory=NoPreloader)

"""The components that run the calls of one process, wired together. Nothing else makes them."""

from collections.abc import Sequence
from dataclasses import dataclass

from vocelio.gateway.calls.admission import AdmissionControl
from vocelio.gateway.calls.background.reaper import CallReaper
from vocelio.gateway.calls.control.commands import CommandRouter
from vocelio.gateway.calls.control.listen_in import ListenInRelay
from vocelio.gateway.calls.event_publisher import CallEventPublisher
from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.calls.lifecycle import CallLifecycle
from vocelio.gateway.calls.registry import CallRegistry
from vocelio.gateway.calls.repository import CallRepository
from vocelio.gateway.calls.session.call_session import CallSession, SessionDependencies
from vocelio.gateway.config import DEFAULT_CAPACITY
from vocelio.gateway.dialing.authorization import TransferAuthorizer


@dataclass(frozen=True)
class CallComponents:
    """The parts, for those who pass them on: the application, the API and the tests."""

    services: CallServices
    registry: CallRegistry
    lifecycle: CallLifecycle
    repository: CallRepository
    publisher: CallEventPublisher
    transfer_authorizer: TransferAuthorizer
    admission: AdmissionControl
    reaper: CallReaper
    command_router: CommandRouter
    listen_in_relay: ListenInRelay

    @property
    def process_id(self) -> str:
        """The id of this process among those that share the pub/sub."""
        return self.services.bus.pubsub.process


def build_call_components(
    services: CallServices, signing_keys: Sequence[str] = (), max_calls: int = DEFAULT_CAPACITY
) -> CallComponents:
    """Wire the components. ``signing_keys`` are the secrets that processes share, newest first."""
    live_calls: dict[str, CallSession] = {}
    pubsub, wall_clock = services.bus.pubsub, services.wall_clock
    publisher = CallEventPublisher(services.call_store, services.bus, wall_clock)
    repository = CallRepository(services.call_store, services.directory, wall_clock)
    transfer_authorizer = TransferAuthorizer(services.directory, wall_clock)
    admission = AdmissionControl(max_calls)
    lifecycle = CallLifecycle(services, repository, publisher, admission, signing_keys, live_calls)
    dependencies = SessionDependencies(services, lifecycle, repository, publisher, transfer_authorizer)
    registry = CallRegistry(dependencies, admission, live_calls)
    return CallComponents(
        services=services,
        registry=registry,
        lifecycle=lifecycle,
        repository=repository,
        publisher=publisher,
        transfer_authorizer=transfer_authorizer,
        admission=admission,
        reaper=CallReaper(registry, lifecycle, services.call_store, wall_clock),
        command_router=CommandRouter(live_calls, pubsub),
        listen_in_relay=ListenInRelay(live_calls, pubsub),
    )

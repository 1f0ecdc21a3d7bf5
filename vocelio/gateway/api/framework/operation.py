"""One operation of the API: its row in the table of routes, and what its handler gets and returns.

A handler is a coroutine function. Its first parameter is the RequestContext; all others are given by keyword: ``body``
is the decoded JSON body, ``query`` the query parameters, and the rest are path parameters, converted by annotation. It
returns the response's JSON. Annotations and docstring are the operation's only description: they drive decoding and
``/openapi.json`` alike.

    async def assign_number(context: RequestContext, *, number: PhoneNumber, body: NewAssignment) -> Number:
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from vocelio.gateway.api.framework.authentication import AccessRule, WebSocketTickets
from vocelio.gateway.calls.components import CallComponents
from vocelio.gateway.crypto import SecretCipher
from vocelio.gateway.model.roles import Permission
from vocelio.gateway.prompts.render_worker import PromptRenderWorker
from vocelio.gateway.recordings.service import RecordingService
from vocelio.gateway.store.audit import Actor
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.db.pagination import MAX_CURSOR_LENGTH
from vocelio.gateway.twilio.provisioning.worker import NumberProvisioner

BodyT = TypeVar("BodyT")


@dataclass(frozen=True)
class RequestContext:
    """Dependencies of a handler, and the parts of the request that are no arguments of it.

    ``if_match`` is the revision in the header If-Match, of conditional operations only. Without a ``provisioner``
    nothing is set at Twilio; without a ``render_worker`` no prompts are rendered in advance.
    """

    database: Database
    cipher: SecretCipher
    calls: CallComponents
    actor: Actor
    if_match: int | None = None
    accept_header: str = "application/json"
    provisioner: NumberProvisioner | None = None
    range_header: str = ""
    render_worker: PromptRenderWorker | None = None
    tickets: WebSocketTickets = field(default_factory=WebSocketTickets)

    @property
    def recordings(self) -> RecordingService:
        """The service that reads recorded audio."""
        return self.calls.services.recordings

    @property
    def tenant(self) -> str:
        """The tenant that the request is about; empty for a platform key that names none."""
        return self.actor.tenant


@dataclass(frozen=True)
class ApiResponse(Generic[BodyT]):
    """A response with its own status, ETag, Location or media type.

    A body of bytes is sent as it is. A ``stream`` is sent in place of the body, chunk by chunk; its length must be in
    ``headers``.
    """

    body: BodyT
    status: int = 200
    etag: int | None = None
    location: str = ""
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None


Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Operation:
    """A row of the table of routes.

    Args:
        permission: What the key's role must allow; None for an operation that needs no key.
        requires_tenant: The operation is about one tenant, which a platform key must name.
        conditional: If-Match is required when an existing resource is overwritten.
        content_type: Media type of a body that is not decoded; the handler gets bytes.
        success_statuses: Statuses of success, if not 200, or 204 for a handler that returns None.
        response_types: Media types besides JSON, or in its place if the handler only returns bytes.
        calls_twilio: The operation uses Twilio's REST API, which may reject it.
    """

    method: str
    path: str
    permission: Permission | None
    handler: Handler
    requires_tenant: bool = True
    conditional: bool = False
    content_type: str = ""
    max_body_bytes: int = 65_536
    success_statuses: tuple[int, ...] = ()
    response_types: tuple[str, ...] = ()
    calls_twilio: bool = False

    @property
    def access_rule(self) -> AccessRule:
        """What the authenticator checks."""
        return AccessRule(self.permission, self.requires_tenant)


class PageQuery(msgspec.Struct, frozen=True):
    """Query parameters of every list: at most ``limit`` items, after those before ``cursor``."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[str, Meta(max_length=MAX_CURSOR_LENGTH)] = ""

"""One operation of the API: what its row in the table says, and what a handler is.

A handler is a coroutine function. Its first parameter is the Context; of the others, all by keyword, ``body`` is the
decoded JSON of the request, ``query`` what stands behind the question mark, and the rest are parts of the path, each
converted by its annotation. What it returns is the answer's JSON; its docstring is its description. So the annotations
say everything there is to say, to the request's decoding and to ``/openapi.json`` alike:

    async def assign(context: Context, *, number: PhoneNumber, body: NewAssignment) -> Number:
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from vocelio.gateway.api.framework.authentication import AccessRule
from vocelio.gateway.api.framework.concurrency_limit import ConcurrencyLimiter, Slot
from vocelio.gateway.api.framework.websocket_tickets import WebSocketTickets
from vocelio.gateway.calls.components import CallComponents
from vocelio.gateway.crypto.encryption import SecretCipher
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
    """What a handler works with. ``if_match`` is the revision that the client has seen, where it says so.

    ``range`` is the header of that name: a handler may give a part only. Without a ``renderer`` nothing is rendered
    beforehand. Its ``place`` is taken: a handler leaves it while it waits for anything but the database, and takes it
    again before it goes on with that.
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
    slot: Slot = field(default_factory=ConcurrencyLimiter().slot)

    @property
    def recordings(self) -> RecordingService:
        """Where recorded sound is."""
        return self.calls.services.recordings

    @property
    def tenant(self) -> str:
        """Whose things are at hand."""
        return self.actor.tenant


@dataclass(frozen=True)
class ApiResponse(Generic[BodyT]):
    """An answer with a status of its own, the ETag of a revision, or the place of what was made.

    A body of bytes goes out as it is, and is of the type ``media``. ``stream`` goes out in its place, bit by bit: what
    is too long for one piece. Then ``headers`` say how long it is.
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
    """A row of the table. ``permission`` is what the key's role must allow; none for what is open to everyone.

    ``tenant`` says that it is about one tenant's things, so that a platform key must name one. ``conditional`` wants
    If-Match when there is something to overwrite. ``raw`` is the media type of a body that is no JSON, or is to be
    taken as it is: the handler gets bytes. ``limit`` is what a body may have at most, in bytes. ``statuses`` are those
    of success, where it is not 200, or 204 of a handler that returns nothing. ``media`` is what the answer can be
    besides JSON, or instead of it if the handler returns bytes only. ``twilio`` says that it is
    about what Twilio has, which may refuse.
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
        """What the gate has to know of it."""
        return AccessRule(self.permission, self.requires_tenant)


class PageQuery(msgspec.Struct, frozen=True):
    """What every list can be asked for: at most ``limit`` rows, from behind ``cursor``."""

    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: Annotated[str, Meta(max_length=MAX_CURSOR_LENGTH)] = ""

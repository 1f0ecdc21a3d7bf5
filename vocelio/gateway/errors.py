"""What can go wrong in the gateway.

GatewayError
├── SettingsError         the environment; the process does not start
├── SiteError             the site's files; the process does not start
└── Refused               a request, answered with its status as a problem (RFC 9457)
    ├── BadRequest        400
    ├── Unauthorized      401  no key, or none that is good
    ├── Forbidden         403  not signed by Twilio; or the key's role may not do that
    ├── NotFound          404  not there, or somebody else's: the same answer
    ├── Conflict          409  the state of things is against it
    ├── Stale             412  somebody else changed it meanwhile
    ├── TooLarge          413
    ├── Unsupported       415
    ├── Invalid           422  with a problem for every wrong field
    ├── Unconditional     428  a change of what others may be changing, too, needs If-Match
    ├── TooMany           429
    ├── TwilioError       502  Twilio's REST API refused something, or did not answer
    └── StoreUnavailable  503  the database does not answer
        ├── Busy          503  others ask it, as many as may at a time
        └── StorageUnavailable  503  what keeps the recordings does not
"""

from collections.abc import Sequence
from typing import ClassVar

from vocelio.engine.diagnostics import Diagnostic


class GatewayError(Exception):
    """The root. Messages are for people, and never hold a secret."""


class SettingsError(GatewayError):
    """A setting is missing, wrong or unknown."""


class SiteFolderError(GatewayError):
    """A file of the site cannot be used; the message has a line for each problem."""


class ApiError(GatewayError):
    """A request that is not carried out. The message says what to do about it."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Refused"
    errors: Sequence[Diagnostic] = ()


class BadRequest(ApiError):
    """The request lacks what it must have, or cannot be read."""

    status, title = 400, "Bad request"


class Unauthorized(ApiError):
    """No key, or one that is unknown, expired or revoked."""

    status, title = 401, "Unauthorized"


class Forbidden(ApiError):
    """The request is not signed as Twilio signs, or its key may not do that."""

    status, title = 403, "Forbidden"


class NotFound(ApiError):
    """There is no such thing among what the key may see."""

    status, title = 404, "Not found"

    def __init__(self) -> None:
        super().__init__("There is nothing here by that name.")  # the same for what is another tenant's


class Conflict(ApiError):
    """The state of things is against it; the message says what would have to change first."""

    status, title = 409, "Conflict"


class PreconditionFailed(ApiError):
    """What was to be changed is not what it was when it was read."""

    status, title = 412, "Changed meanwhile"


class ContentTooLarge(ApiError):
    """The body is larger than it may be."""

    status, title = 413, "Too large"


class UnsupportedMediaType(ApiError):
    """The body is not of the type that is expected."""

    status, title = 415, "Unsupported media type"


class UnprocessableContent(ApiError):
    """Fields are wrong: ``errors`` has a problem with its path for each."""

    status, title = 422, "Invalid"

    def __init__(self, message: str, errors: Sequence[Diagnostic] = ()) -> None:
        super().__init__(message)
        self.errors = errors


class PreconditionRequired(ApiError):
    """The change must say of which revision it is one."""

    status, title = 428, "If-Match is needed"


class TooManyRequests(ApiError):
    """The key makes too many requests; ``seconds`` until the next is welcome."""

    status, title = 429, "Too many requests"

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class TwilioError(ApiError):
    """Twilio's REST API refused what was asked, or did not answer.

    ``http`` is the status that it answered with and ``code`` its own number of the error
    (https://www.twilio.com/docs/api/errors), 0 without an answer; ``seconds`` is how long it wants to be left alone.
    """

    status, title = 502, "Twilio refused"

    def __init__(self, message: str, *, http_status: int = 0, code: int = 0, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.http_status, self.code, self.retry_after_seconds = http_status, code, retry_after_seconds


class DatabaseUnavailable(ApiError):
    """The database does not answer, or not in time, or too many ask it. What was asked has not been acknowledged.

    Retry-After says after how many seconds another try is worth it.
    """

    status, title = 503, "The store is not available"

    def __init__(self) -> None:
        super().__init__("The database does not answer at present. Try again in a few seconds.")


class Overloaded(DatabaseUnavailable):
    """As many ask the database as may at a time, and went on doing so while this one waited."""

    title = "Too busy"

    def __init__(self) -> None:
        ApiError.__init__(self, "Too many requests are being answered at present. Try again in a few seconds.")


class StorageUnavailable(DatabaseUnavailable):
    """The storage of recordings does not answer, or not in time. The log has the ``problem``, the answer has not."""

    title = "The storage is not available"

    def __init__(self, reason: str = "") -> None:
        ApiError.__init__(self, "The storage of recordings does not answer at present. Try again in a few seconds.")
        self.reason = reason

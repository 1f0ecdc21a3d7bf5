"""Errors of the gateway.

GatewayError
├── SettingsError              the environment; the process does not start
├── SiteFolderError            the files of a site folder; the process does not start
└── DomainError                an operation is not carried out
    ├── BadRequest             the request is malformed
    │   └── TenantRequired     a platform key did not name a tenant
    ├── Unauthenticated        no valid API key, or no valid ticket
    ├── Forbidden              not signed by Twilio, or not allowed for the key's role
    ├── NotFound               no such resource of this tenant
    ├── Conflict               the current state does not allow the operation
    │   ├── AlreadyExists      the name or number is taken
    │   └── QuotaExceeded      the tenant has as many of these as are allowed
    ├── RevisionConflict       the resource has been changed since it was read
    ├── RevisionRequired       an existing resource cannot be replaced without its revision
    ├── InputTooLarge          the body or document is too large
    ├── UnsupportedMediaType   the body has another content type than expected
    ├── InvalidInput           fields are invalid; has a diagnostic for each
    ├── RateLimited            too many requests
    ├── TwilioError            Twilio's REST API rejected a request
    │   └── TwilioUnavailable  Twilio's REST API did not answer, or is busy
    └── DatabaseUnavailable    the database did not answer in time
        ├── Overloaded         no free connection in the pool
        └── StorageUnavailable the storage of recordings did not answer

``api/framework/problem_details.py`` maps domain errors to HTTP statuses; nothing else knows them.
"""

from collections.abc import Sequence

from vocelio.engine.diagnostics import Diagnostic


class GatewayError(Exception):
    """Base class. Messages are for people and never contain a secret."""


class SettingsError(GatewayError):
    """A setting is missing, invalid or unknown."""


class SiteFolderError(GatewayError):
    """A site folder has errors; the message has a line for each."""


class DomainError(GatewayError):
    """An operation is not carried out. The message says why and what to do about it."""

    errors: Sequence[Diagnostic] = ()


class BadRequest(DomainError):
    """The request is malformed, or lacks something it must have."""


class TenantRequired(BadRequest):
    """The operation is about one tenant, and a platform key did not name it."""


class Unauthenticated(DomainError):
    """There is no API key or ticket, or it is unknown, expired or revoked."""


class Forbidden(DomainError):
    """The request has no valid Twilio signature, or the key's role does not allow the operation."""


class NotFound(DomainError):
    """The tenant has no such resource."""

    def __init__(self) -> None:
        super().__init__("There is no such resource.")  # the same for a resource of another tenant


class Conflict(DomainError):
    """The current state does not allow the operation; the message says what has to change first."""


class AlreadyExists(Conflict):
    """The name or number is taken."""


class QuotaExceeded(Conflict):
    """The tenant has as many resources of this kind as are allowed."""


class RevisionConflict(DomainError):
    """The resource has been changed, or deleted, since it was read."""


class RevisionRequired(DomainError):
    """The resource exists, so a change must name the revision that it replaces."""


class InputTooLarge(DomainError):
    """The body or document is larger than allowed."""


class UnsupportedMediaType(DomainError):
    """The content type of the body is not the expected one."""


class InvalidInput(DomainError):
    """Fields are invalid: ``errors`` has a diagnostic with its path for each."""

    def __init__(self, message: str, errors: Sequence[Diagnostic] = ()) -> None:
        super().__init__(message)
        self.errors = errors


class RateLimited(DomainError):
    """There are too many requests; the next is accepted after ``retry_after_seconds``."""

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class TwilioError(DomainError):
    """Twilio's REST API rejected a request.

    ``http_status`` is its status and ``code`` its error code (https://www.twilio.com/docs/api/errors), both 0 without
    an answer; ``retry_after_seconds`` is the pause that Twilio asked for.
    """

    def __init__(self, message: str, *, http_status: int = 0, code: int = 0, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.http_status, self.code, self.retry_after_seconds = http_status, code, retry_after_seconds


class TwilioUnavailable(TwilioError):
    """Twilio's REST API did not answer, or is busy. Nothing was changed; retry after a few seconds."""


class DatabaseUnavailable(DomainError):
    """The database did not answer in time. The operation has not been acknowledged; retry it after a few seconds."""

    def __init__(self) -> None:
        super().__init__("The database is unavailable. Try again in a few seconds.")


class Overloaded(DatabaseUnavailable):
    """All connections of the pool stayed in use while the operation waited for one."""

    def __init__(self) -> None:
        DomainError.__init__(self, "Too many requests are in progress. Try again in a few seconds.")


class StorageUnavailable(DatabaseUnavailable):
    """The storage of recordings did not answer in time. ``reason`` is logged and never part of an answer."""

    def __init__(self, reason: str = "") -> None:
        DomainError.__init__(self, "The recording storage is unavailable. Try again in a few seconds.")
        self.reason = reason

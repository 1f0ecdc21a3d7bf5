"""Requests from Twilio: a form or JSON object, read within bounds and accepted only with a valid signature.

What is signed is authentic, but it may still be malformed: only checked fields can be read (``form_fields``).
"""

from collections.abc import Iterable
from urllib.parse import parse_qsl

import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.requests import HTTPConnection, Request

from vocelio.gateway.errors import BadRequest, Forbidden
from vocelio.gateway.twilio.signatures import SIGNATURE_HEADER, SIGNATURE_SETTINGS_HEADER, SignatureVerifier
from vocelio.gateway.webhooks.form_fields import FORM_FIELDS, QUERY_FIELDS, check_fields

MAX_BODY_BYTES = 65_536  # bytes: Twilio's forms are under 4 KB
MAX_FIELDS = 500


class TwilioRequest:
    """The fields of a webhook request about one call."""

    def __init__(self, form: FormData, query: Iterable[tuple[str, str]]) -> None:
        """Raises BadRequest for a field that is malformed or repeated."""
        self._form, self._fields = form, check_fields(form.multi_items(), FORM_FIELDS, "form")
        self.query = check_fields(query, QUERY_FIELDS, "query")
        self.account = self.get_required("AccountSid")
        self.call = self.get_required("CallSid")

    def get(self, name: str) -> str:
        """Return a field of FORM_FIELDS, or an empty string."""
        assert name in FORM_FIELDS, name  # noqa: S101 (nothing unchecked may be read)
        return self._fields.get(name, "")

    def get_carried(self, name: str) -> str:
        """Return a field of the form, or of the query if the request was repeated by our own URL."""
        return self.get(name) or self.query.get(name, "")

    def query_int(self, name: str) -> int:
        """Return a small number of the query; 0 if it is missing or malformed."""
        return _parse_count(self.query.get(name, ""))

    def form_int(self, name: str) -> int:
        """Return a small number of the form; 0 if it is missing or malformed."""
        return _parse_count(self.get(name))

    def with_query(self, query: Iterable[tuple[str, str]]) -> "TwilioRequest":
        """Return the same request with another query. Raises BadRequest."""
        return TwilioRequest(self._form, query)

    def get_required(self, name: str) -> str:
        """Return a field that Twilio always sends. Raises BadRequest."""
        value = self.get(name)
        if not value:
            raise BadRequest(f"the form has no {name}")
        return value


async def parse_signed(request: Request, verifier: SignatureVerifier) -> TwilioRequest:
    """Read and verify a request; the text members of a JSON object are its fields. Raises Forbidden, BadRequest."""
    body = await _read_body(request)
    is_json = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    form = FormData(_parse_json(body) if is_json else _parse_form(body))
    account, path, headers = str(form.get("AccountSid", "")), request_target(request), signature_headers(request)
    if is_json:
        is_valid = await verifier.verify_body(account, path, body, *headers)
    else:
        is_valid = await verifier.verify_form(account, path, form, *headers)  # type: ignore[arg-type]
    if not is_valid:
        raise Forbidden("the request is not signed with a key of one of our accounts")
    return TwilioRequest(form, request.query_params.multi_items())


def request_target(connection: HTTPConnection) -> str:
    """Return the requested path with its query: the signed URL without the origin.

    Taken from the scope, since anybody may send bytes that are no URL; those match no signature.
    """
    query: bytes = connection.scope.get("query_string", b"")
    path: str = connection.scope["path"]
    return path + ("?" + query.decode("latin-1") if query else "")


def signature_headers(connection: HTTPConnection) -> tuple[str, str | None]:
    """Return both signature headers. A repeated one is joined as HTTP joins them, and then does not match."""
    headers = connection.headers
    settings = headers.getlist(SIGNATURE_SETTINGS_HEADER)
    return ",".join(headers.getlist(SIGNATURE_HEADER)), ",".join(settings) if settings else None


def _parse_count(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


async def _read_body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise BadRequest(f"the body is larger than {MAX_BODY_BYTES} bytes")
    return body


def _parse_form(body: bytes) -> list[tuple[str, str | UploadFile]]:
    try:
        return [*parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)]
    except ValueError as error:
        raise BadRequest("the body is not a form") from error


def _parse_json(body: bytes) -> list[tuple[str, str | UploadFile]]:
    try:
        members = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadRequest("the body is not a JSON object") from error
    return [(name, value) for name, value in members.items() if isinstance(value, str)]

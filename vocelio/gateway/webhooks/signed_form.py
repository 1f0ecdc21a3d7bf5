"""A webhook's form, or JSON object, read within bounds and believed only when Twilio signed it."""

from urllib.parse import parse_qsl

import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.requests import HTTPConnection, Request

from vocelio.gateway.errors import BadRequest, Forbidden
from vocelio.gateway.twilio.signatures import SIGNATURE_HEADER, SIGNATURE_SETTINGS_HEADER, SignatureVerifier

MAX_BODY_BYTES = 65_536  # bytes: Twilio's forms are under 4 KB
MAX_FIELDS = 500


class TwilioRequest:
    """What Twilio tells of a call."""

    def __init__(self, form: FormData, query: dict[str, str]) -> None:
        self._form, self.query = form, query
        self.account = self.get_required("AccountSid")
        self.call = self.get_required("CallSid")

    def get(self, name: str) -> str:
        """A field, or nothing."""
        value = self._form.get(name, "")
        return value if isinstance(value, str) else ""

    def get_carried(self, name: str) -> str:
        """A field, also when it was carried on in the query of a URL that Twilio came back to."""
        return self.get(name) or self.query.get(name, "")

    def query_int(self, name: str) -> int:
        """A small count in the query; 0 for what is none."""
        return _parse_count(self.query.get(name, ""))

    def form_int(self, name: str) -> int:
        """A field that is a time; 0 for what is none."""
        return _parse_count(self.get(name))

    def with_query(self, query: dict[str, str]) -> "TwilioRequest":
        """The same, as if it had come with another query."""
        return TwilioRequest(self._form, query)

    def get_required(self, name: str) -> str:
        """A field that Twilio always sends. Raises BadRequest."""
        value = self.get(name)
        if not value:
            raise BadRequest(f"the form has no {name}")
        return value


async def parse_signed(request: Request, verifier: SignatureVerifier) -> TwilioRequest:
    """The request's form; of a JSON object its texts are the fields. Raises Forbidden or BadRequest."""
    body = await _read_body(request)
    json = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    form = FormData(_parse_json(body) if json else _parse_form(body))
    account, path, headers = str(form.get("AccountSid", "")), request_target(request), signature_headers(request)
    if json:
        signed = await verifier.verify_body(account, path, body, *headers)
    else:
        signed = await verifier.verify_form(account, path, form, *headers)  # type: ignore[arg-type]
    if not signed:
        raise Forbidden("the request is not signed with a key of one of our accounts")
    return TwilioRequest(form, dict(request.query_params))


def request_target(connection: HTTPConnection) -> str:
    """The path that is asked for, with its query, if any: of the signed URL all but the origin.

    Out of the scope, since what a stranger sends need not be a URL; bytes that are none match no signature.
    """
    query: bytes = connection.scope.get("query_string", b"")
    path: str = connection.scope["path"]
    return path + ("?" + query.decode("latin-1") if query else "")


def signature_headers(connection: HTTPConnection) -> tuple[str, str | None]:
    """Both headers of Twilio's signature. One that comes twice is joined as HTTP joins them: then it is refused."""
    headers = connection.headers
    settings = headers.getlist(SIGNATURE_SETTINGS_HEADER)
    return ",".join(headers.getlist(SIGNATURE_HEADER)), ",".join(settings) if settings else None


def _parse_count(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


async def _read_body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
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

"""A webhook's form, read within bounds and believed only when Twilio signed it."""

from urllib.parse import parse_qsl

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from vocelio.gateway.carrier.signatures import HEADER, Signatures
from vocelio.gateway.errors import BadRequest, Forbidden

MAX_BODY = 65_536  # bytes: Twilio's forms are under 4 KB
MAX_FIELDS = 500


class SignedForm:
    """What Twilio tells of a call."""

    def __init__(self, form: FormData, query: dict[str, str]) -> None:
        self._form, self.query = form, query
        self.account = self.required("AccountSid")
        self.call = self.required("CallSid")

    def get(self, name: str) -> str:
        """A field, or nothing."""
        value = self._form.get(name, "")
        return value if isinstance(value, str) else ""

    def told(self, name: str) -> str:
        """A field, also when it was carried on in the query of a URL that Twilio came back to."""
        return self.get(name) or self.query.get(name, "")

    def number(self, name: str) -> int:
        """A small count in the query; 0 for what is none."""
        text = self.query.get(name, "0")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0

    def again(self, query: dict[str, str]) -> "SignedForm":
        """The same, as if it had come with another query."""
        return SignedForm(self._form, query)

    def required(self, name: str) -> str:
        """A field that Twilio always sends. Raises BadRequest."""
        value = self.get(name)
        if not value:
            raise BadRequest(f"the form has no {name}")
        return value


async def read_signed(request: Request, signatures: Signatures) -> SignedForm:
    """The request's form. Raises Forbidden or BadRequest."""
    form = FormData(_fields(await _body(request)))
    query = f"?{request.url.query}" if request.url.query else ""
    account = form.get("AccountSid", "")
    signature = request.headers.get(HEADER, "")
    path = request.url.path + query
    if not await signatures.signs_form(str(account), path, form, signature):  # type: ignore[arg-type]
        raise Forbidden("the request is not signed with the token of one of our accounts")
    return SignedForm(form, dict(request.query_params))


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise BadRequest(f"the body is larger than {MAX_BODY} bytes")
    return body


def _fields(body: bytes) -> list[tuple[str, str | UploadFile]]:
    try:
        return [*parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)]
    except ValueError as error:
        raise BadRequest("the body is not a form") from error

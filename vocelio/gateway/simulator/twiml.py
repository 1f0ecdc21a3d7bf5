"""TwiML, as far as a gateway needs it, into verbs.

Stricter than Twilio, which skips what it does not know with a warning: a verb, attribute or nesting that is not in
the table below is an error here, so that a slip in the gateway's TwiML is found before a real caller finds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit
from xml.etree import ElementTree

from vocelio.gateway.simulator import faults
from vocelio.gateway.simulator.faults import CarrierError

PARAMETERS_LIMIT = 500
"""Characters that the names and values of a stream's parameters must stay under, together."""

MAX_PAUSE_SECONDS = 600
MAX_DIAL_SECONDS = 600
"""Twilio's own limit of ``<Dial timeout>``."""
MAX_TALK_SECONDS = 14_400
"""Twilio's own ``<Dial timeLimit>`` when there is none; it takes at most a day."""


@dataclass(frozen=True, slots=True)
class Stream:
    """``<Connect><Stream>``: ``action`` and ``status_callback`` are URLs as written, perhaps relative."""

    url: str
    parameters: Mapping[str, str]
    action: str | None = None
    name: str | None = None
    status_callback: str | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    url: str


@dataclass(frozen=True, slots=True)
class Target:
    """A number or SIP URI to ring; ``whisper`` is the URL of what the callee is told first."""

    address: str
    whisper: str | None = None


@dataclass(frozen=True, slots=True)
class Dial:
    """Rings its targets together, or in turn when ``sequential``; each at most ``timeout`` seconds.

    Whoever answers talks for at most ``time_limit`` seconds.
    """

    targets: tuple[Target, ...]
    action: str | None = None
    timeout: int = 30
    caller_id: str | None = None
    sequential: bool = False
    time_limit: int = MAX_TALK_SECONDS


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class Play:
    url: str


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: int = 1


@dataclass(frozen=True, slots=True)
class Hangup:
    pass


@dataclass(frozen=True, slots=True)
class Reject:
    reason: Literal["rejected", "busy"] = "rejected"


Verb = Stream | Redirect | Dial | Say | Play | Pause | Hangup | Reject

# What may stand in what, and the attributes of each.
_CHILDREN: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "Response": frozenset({"Connect", "Redirect", "Dial", "Say", "Play", "Pause", "Hangup", "Reject"}),
        "Connect": frozenset({"Stream"}),
        "Stream": frozenset({"Parameter"}),
        "Dial": frozenset({"Number", "Sip"}),
    }
)
_ATTRIBUTES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "Connect": frozenset({"action", "method"}),
        "Stream": frozenset({"url", "name", "track", "statusCallback", "statusCallbackMethod"}),
        "Parameter": frozenset({"name", "value"}),
        "Redirect": frozenset({"method"}),
        "Dial": frozenset(
            {"action", "method", "timeout", "callerId", "sequential", "answerOnBridge", "ringTone", "timeLimit"}
        ),
        "Number": frozenset({"url", "method"}),
        "Sip": frozenset({"url", "method", "username", "password"}),
        "Say": frozenset({"voice", "language", "loop"}),
        "Play": frozenset({"loop", "digits"}),
        "Pause": frozenset({"length"}),
        "Reject": frozenset({"reason"}),
    }
)


def parse(document: bytes) -> tuple[Verb, ...]:
    """The verbs of a document, in order. Raises CarrierError with Twilio's code for what is wrong."""
    root = _root(document)
    _check(root)
    return tuple(_verb(element) for element in root)


def _root(document: bytes) -> ElementTree.Element:
    try:
        text = document.decode()
        if "<!DOCTYPE" in text:  # so there are no entities either: neither bombs nor files can be referred to
            raise CarrierError(faults.PARSE_FAILURE, "the document has a document type declaration")
        root = ElementTree.fromstring(text)  # noqa: S314 - without a document type it has nothing to expand
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise CarrierError(faults.PARSE_FAILURE, f"not an XML document: {error}") from error
    if root.tag != "Response":
        raise CarrierError(faults.NOT_A_RESPONSE, f"the root element is <{root.tag}>, not <Response>")
    return root


def _check(element: ElementTree.Element) -> None:
    unknown = set(element.attrib) - _ATTRIBUTES.get(element.tag, frozenset())
    if unknown:
        raise _schema(f"<{element.tag}> has no attribute {', '.join(sorted(unknown))}")
    if any(element.get(name, "POST") != "POST" for name in ("method", "statusCallbackMethod")):
        raise _schema(f"<{element.tag}>: the simulator only posts")
    if element.tag == "Say":  # holds text and SSML, which is only read out
        return
    for child in element:
        if child.tag not in _CHILDREN.get(element.tag, frozenset()):
            raise _schema(f"<{element.tag}> cannot hold <{child.tag}>, or the simulator does not play it")
        _check(child)


def _verb(element: ElementTree.Element) -> Verb:
    match element.tag:
        case "Connect":
            return _stream(element)
        case "Dial":
            return _dial(element)
        case "Redirect":
            return Redirect(_text(element))
        case "Say":
            return Say(_text(element))
        case "Play":
            return Play(_text(element))
        case "Pause":
            return Pause(_number(element, "length", 1, MAX_PAUSE_SECONDS))
        case "Reject":
            return _reject(element)
        case _:
            return Hangup()


def _stream(connect: ElementTree.Element) -> Stream:
    if len(connect) != 1:
        raise _schema("<Connect> holds exactly one <Stream>")
    element = connect[0]
    if element.get("track", "inbound_track") != "inbound_track":
        raise CarrierError(faults.STREAM_TRACK, "<Connect><Stream> has the inbound track only")
    return Stream(
        _stream_url(element.get("url", "")),
        _parameters(element),
        connect.get("action"),
        element.get("name"),
        element.get("statusCallback"),
    )


def _stream_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise CarrierError(faults.STREAM_URL, f"{url!r} is not a URL") from error
    if parts.scheme != "wss":
        raise CarrierError(faults.STREAM_SCHEME, f"{url!r} is not a wss URL")
    if not parts.hostname:
        raise CarrierError(faults.STREAM_URL, f"{url!r} names no host")
    if parts.query:
        raise CarrierError(faults.STREAM_HANDSHAKE, f"{url!r} has a query string, which is not supported")
    return url


def _parameters(element: ElementTree.Element) -> Mapping[str, str]:
    parameters = {child.get("name", ""): child.get("value", "") for child in element}
    if "" in parameters:
        raise _schema("<Parameter> needs a name")
    if sum(len(name) + len(value) for name, value in parameters.items()) >= PARAMETERS_LIMIT:
        raise _schema(f"the stream's parameters have {PARAMETERS_LIMIT} characters or more")
    return MappingProxyType(parameters)


def _dial(element: ElementTree.Element) -> Dial:
    text = (element.text or "").strip()
    targets = (Target(text),) if text else tuple(Target(_text(child), child.get("url")) for child in element)
    if not targets:
        raise _schema("<Dial> rings nobody")
    return Dial(
        targets,
        element.get("action"),
        _number(element, "timeout", 30, MAX_DIAL_SECONDS),
        element.get("callerId"),
        element.get("sequential") == "true",
        _number(element, "timeLimit", MAX_TALK_SECONDS, 86_400),
    )


def _reject(element: ElementTree.Element) -> Reject:
    match element.get("reason", "rejected"):
        case "rejected":
            return Reject()
        case "busy":
            return Reject("busy")
        case reason:
            raise _schema(f"<Reject reason={reason!r}> is neither rejected nor busy")


def _number(element: ElementTree.Element, name: str, default: int, most: int) -> int:
    value = element.get(name, str(default))
    if not (value.isascii() and value.isdigit()) or not 0 < int(value[:9]) <= most:
        raise _schema(f"<{element.tag} {name}={value!r}> is not a number from 1 to {most}")
    return int(value)


def _text(element: ElementTree.Element) -> str:
    text = "".join(element.itertext()).strip()
    if not text:
        raise _schema(f"<{element.tag}> is empty")
    return text


def _schema(text: str) -> CarrierError:
    return CarrierError(faults.SCHEMA, text)

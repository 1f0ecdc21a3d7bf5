"""Parse TwiML into verbs. Only the subset that a gateway needs is supported; the rest is an error (see ``schema``)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit
from xml.etree import ElementTree

from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.error_codes import TwilioSimError
from vocelio.gateway.simulator.twiml import schema
from vocelio.gateway.simulator.twiml.schema import schema_error

MAX_PARAMETER_CHARACTERS = 500
"""Exclusive bound of the total length of a stream's parameter names and values."""

MAX_PAUSE_SECONDS = 600
MAX_DIAL_SECONDS = 600
"""Twilio's limit of ``<Dial timeout>``."""
MAX_TALK_SECONDS = 14_400
"""Twilio's default of ``<Dial timeLimit>``; the maximum is a day."""

MAX_RECORD_SECONDS = 14_400
"""Twilio's limit of ``<Record maxLength>``, except for accounts with longer calls."""

MAX_QUEUE_NAME_CHARACTERS = 64
ALL_KEYS = "1234567890*#"
RECORDING_STATUS_EVENTS = frozenset({"in-progress", "completed", "absent"})


@dataclass(frozen=True, slots=True)
class Stream:
    """``<Connect><Stream>``; ``action`` and ``status_callback`` can be relative URLs."""

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
    """A number or SIP URI to dial; ``whisper_url`` is the TwiML that the callee hears first."""

    address: str
    whisper_url: str | None = None


@dataclass(frozen=True, slots=True)
class Dial:
    """Dials its targets simultaneously, or in turn if ``sequential``, for at most ``timeout`` seconds each.

    The connected call lasts at most ``time_limit`` seconds.
    """

    targets: tuple[Target, ...]
    action: str | None = None
    timeout: int = 30
    caller_id: str | None = None
    sequential: bool = False
    time_limit: int = MAX_TALK_SECONDS


@dataclass(frozen=True, slots=True)
class Record:
    """Records the caller until a key, ``timeout`` seconds of silence, or ``max_length`` seconds.

    ``status_callback_events`` are the events that ``status_callback`` gets; ``trim`` removes silence at both ends.
    """

    action: str
    timeout: int = 5
    finish_on_key: str = ALL_KEYS
    max_length: int = 3600
    play_beep: bool = True
    trim: bool = True
    status_callback: str | None = None
    status_callback_events: frozenset[str] = frozenset({"completed"})


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Waits in the queue ``name`` while the document at ``wait_url`` is played repeatedly."""

    name: str
    wait_url: str | None = None
    action: str | None = None


@dataclass(frozen=True, slots=True)
class Leave:
    """Leaves the queue; only in the document at a queue's ``wait_url``."""


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


Verb = Stream | Redirect | Dial | Record | Enqueue | Leave | Say | Play | Pause | Hangup | Reject


def parse(document: bytes) -> tuple[Verb, ...]:
    """Return the verbs of a document in order. Raises TwilioSimError with Twilio's error code."""
    return tuple(_parse_verb(element) for element in schema.validate(document))


def _parse_verb(element: ElementTree.Element) -> Verb:
    match element.tag:
        case "Connect":
            return _parse_stream(element)
        case "Dial":
            return _parse_dial(element)
        case "Record":
            return _parse_record(element)
        case "Enqueue":
            return _parse_enqueue(element)
        case "Leave":
            return Leave()
        case "Redirect":
            return Redirect(_element_text(element))
        case "Say":
            return Say(_element_text(element))
        case "Play":
            return Play(_element_text(element))
        case "Pause":
            return Pause(_int_attribute(element, "length", 1, MAX_PAUSE_SECONDS))
        case "Reject":
            return _parse_reject(element)
        case _:
            return Hangup()


def _parse_stream(connect: ElementTree.Element) -> Stream:
    if len(connect) != 1:
        raise schema_error("<Connect> holds exactly one <Stream>")
    element = connect[0]
    if element.get("track", "inbound_track") != "inbound_track":
        raise TwilioSimError(error_codes.STREAM_TRACK, "<Connect><Stream> has the inbound track only")
    return Stream(
        _check_stream_url(element.get("url", "")),
        _parse_parameters(element),
        connect.get("action"),
        element.get("name"),
        element.get("statusCallback"),
    )


def _check_stream_url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise TwilioSimError(error_codes.STREAM_URL, f"{url!r} is not a URL") from error
    if parts.scheme != "wss":
        raise TwilioSimError(error_codes.STREAM_SCHEME, f"{url!r} is not a wss URL")
    if not parts.hostname:
        raise TwilioSimError(error_codes.STREAM_URL, f"{url!r} names no host")
    if parts.query:
        raise TwilioSimError(error_codes.STREAM_HANDSHAKE, f"{url!r} has a query string, which is not supported")
    return url


def _parse_parameters(element: ElementTree.Element) -> Mapping[str, str]:
    parameters = {child.get("name", ""): child.get("value", "") for child in element}
    if "" in parameters:
        raise schema_error("<Parameter> needs a name")
    if sum(len(name) + len(value) for name, value in parameters.items()) >= MAX_PARAMETER_CHARACTERS:
        raise schema_error(f"the stream's parameters have {MAX_PARAMETER_CHARACTERS} characters or more")
    return MappingProxyType(parameters)


def _parse_dial(element: ElementTree.Element) -> Dial:
    text = (element.text or "").strip()
    targets = (Target(text),) if text else tuple(Target(_element_text(child), child.get("url")) for child in element)
    if not targets:
        raise schema_error("<Dial> has no target")
    return Dial(
        targets,
        element.get("action"),
        _int_attribute(element, "timeout", 30, MAX_DIAL_SECONDS),
        element.get("callerId"),
        element.get("sequential") == "true",
        _int_attribute(element, "timeLimit", MAX_TALK_SECONDS, 86_400),
    )


def _parse_record(element: ElementTree.Element) -> Record:
    action = element.get("action")
    if not action:  # Twilio would request the current document again and record in an endless loop
        raise schema_error("<Record> needs an action")
    finish_on_key = element.get("finishOnKey", ALL_KEYS)
    if not finish_on_key or set(finish_on_key) - set(ALL_KEYS):
        raise schema_error(f"<Record finishOnKey={finish_on_key!r}> are not keys")
    events = frozenset(element.get("recordingStatusCallbackEvent", "completed").split())
    if events - RECORDING_STATUS_EVENTS:
        raise schema_error(f"<Record> has no event {', '.join(sorted(events - RECORDING_STATUS_EVENTS))}")
    return Record(
        action,
        _int_attribute(element, "timeout", 5, MAX_RECORD_SECONDS),
        finish_on_key,
        _int_attribute(element, "maxLength", 3600, MAX_RECORD_SECONDS, minimum=2),
        _bool_attribute(element, "playBeep", "true", "false"),
        _bool_attribute(element, "trim", "trim-silence", "do-not-trim"),
        element.get("recordingStatusCallback"),
        events,
    )


def _parse_enqueue(element: ElementTree.Element) -> Enqueue:
    name = _element_text(element)
    if len(name) > MAX_QUEUE_NAME_CHARACTERS:
        raise schema_error(f"the name of a queue has at most {MAX_QUEUE_NAME_CHARACTERS} characters")
    return Enqueue(name, element.get("waitUrl"), element.get("action"))


def _parse_reject(element: ElementTree.Element) -> Reject:
    match element.get("reason", "rejected"):
        case "rejected":
            return Reject()
        case "busy":
            return Reject("busy")
        case reason:
            raise schema_error(f"<Reject reason={reason!r}> is neither rejected nor busy")


def _int_attribute(element: ElementTree.Element, name: str, default: int, maximum: int, minimum: int = 1) -> int:
    value = element.get(name, str(default))
    if not (value.isascii() and value.isdigit()) or not minimum <= int(value[:9]) <= maximum:
        raise schema_error(f"<{element.tag} {name}={value!r}> is not a number from {minimum} to {maximum}")
    return int(value)


def _bool_attribute(element: ElementTree.Element, name: str, true_value: str, false_value: str) -> bool:
    """Return whether the attribute has ``true_value``, which is also its default."""
    value = element.get(name, true_value)
    if value not in (true_value, false_value):
        raise schema_error(f"<{element.tag} {name}={value!r}> is neither {true_value} nor {false_value}")
    return value == true_value


def _element_text(element: ElementTree.Element) -> str:
    text = "".join(element.itertext()).strip()
    if not text:
        raise schema_error(f"<{element.tag}> is empty")
    return text

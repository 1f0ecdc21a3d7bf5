"""Schema of the supported TwiML: allowed nesting and attributes, checked before a document is parsed.

Stricter than Twilio, which skips unknown content with a warning: a verb, attribute or nesting that is not in the tables
below is an error, so that mistakes in the gateway's TwiML are found in tests.
"""

from collections.abc import Mapping
from types import MappingProxyType
from xml.etree import ElementTree

from vocelio.gateway.simulator import error_codes
from vocelio.gateway.simulator.error_codes import TwilioSimError

_CHILDREN: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "Response": frozenset(
            {
                "Connect",
                "Dial",
                "Enqueue",
                "Hangup",
                "Leave",
                "Pause",
                "Play",
                "Record",
                "Redirect",
                "Reject",
                "Say",
            }
        ),
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
        "Enqueue": frozenset({"action", "method", "waitUrl", "waitUrlMethod"}),
        "Record": frozenset(
            {
                "action",
                "method",
                "timeout",
                "finishOnKey",
                "maxLength",
                "playBeep",
                "trim",
                "recordingStatusCallback",
                "recordingStatusCallbackMethod",
                "recordingStatusCallbackEvent",
            }
        ),
        "Say": frozenset({"voice", "language", "loop"}),
        "Play": frozenset({"loop", "digits"}),
        "Pause": frozenset({"length"}),
        "Reject": frozenset({"reason"}),
    }
)
_METHOD_ATTRIBUTES = ("method", "statusCallbackMethod", "recordingStatusCallbackMethod", "waitUrlMethod")


def validate(document: bytes) -> ElementTree.Element:
    """Parse and check a document; return its ``<Response>``. Raises TwilioSimError with Twilio's error code."""
    root = _parse_root(document)
    _check_element(root)
    return root


def schema_error(message: str) -> TwilioSimError:
    """Return the error for unknown or misplaced content."""
    return TwilioSimError(error_codes.SCHEMA_VALIDATION, message)


def _parse_root(document: bytes) -> ElementTree.Element:
    try:
        text = document.decode()
        if "<!DOCTYPE" in text:  # hence no entities: neither entity bombs nor external files
            raise TwilioSimError(error_codes.PARSE_FAILURE, "the document has a document type declaration")
        root = ElementTree.fromstring(text)  # noqa: S314 - safe without a document type
    except (UnicodeDecodeError, ElementTree.ParseError) as error:
        raise TwilioSimError(error_codes.PARSE_FAILURE, f"not an XML document: {error}") from error
    if root.tag != "Response":
        raise TwilioSimError(error_codes.NOT_A_RESPONSE, f"the root element is <{root.tag}>, not <Response>")
    return root


def _check_element(element: ElementTree.Element) -> None:
    unknown = set(element.attrib) - _ATTRIBUTES.get(element.tag, frozenset())
    if unknown:
        raise schema_error(f"<{element.tag}> has no attribute {', '.join(sorted(unknown))}")
    if any(element.get(name, "POST") != "POST" for name in _METHOD_ATTRIBUTES):
        raise schema_error(f"<{element.tag}>: the simulator supports only POST")
    if element.tag == "Say":  # text and SSML, not interpreted
        return
    for child in element:
        if child.tag not in _CHILDREN.get(element.tag, frozenset()):
            raise schema_error(f"<{element.tag}> cannot contain <{child.tag}>, or the simulator does not support it")
        _check_element(child)

"""What TwiML may stand in what, and with which attributes: a document is checked against this before it is read.

Stricter than Twilio, which skips what it does not know with a warning: a verb, attribute or nesting that is not in
the table below is an error here, so that a slip in the gateway's TwiML is found before a real caller finds it.
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
    """The ``<Response>``, checked. Raises CarrierError with Twilio's code for what is wrong."""
    root = _parse_root(document)
    _check_element(root)
    return root


def schema_error(message: str) -> TwilioSimError:
    """The error for what is not in TwiML, or not in that place."""
    return TwilioSimError(error_codes.SCHEMA_VALIDATION, message)


def _parse_root(document: bytes) -> ElementTree.Element:
    try:
        text = document.decode()
        if "<!DOCTYPE" in text:  # so there are no entities either: neither bombs nor files can be referred to
            raise TwilioSimError(error_codes.PARSE_FAILURE, "the document has a document type declaration")
        root = ElementTree.fromstring(text)  # noqa: S314 - without a document type it has nothing to expand
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
        raise schema_error(f"<{element.tag}>: the simulator only posts")
    if element.tag == "Say":  # holds text and SSML, which is only read out
        return
    for child in element:
        if child.tag not in _CHILDREN.get(element.tag, frozenset()):
            raise schema_error(f"<{element.tag}> cannot hold <{child.tag}>, or the simulator does not play it")
        _check_element(child)

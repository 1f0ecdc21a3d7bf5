"""TwiML documents of the gateway: one function per document."""

import re
from collections.abc import Sequence

from twilio.twiml.voice_response import Connect, Dial, Stream, VoiceResponse

_NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    chr(plane + 0xFFFE) + chr(plane + 0xFFFF) for plane in range(0, 0x110000, 0x10000)
)
_UNSPEAKABLE = re.compile(f"[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\ud800-\\udfff{_NONCHARACTERS}]")


def speakable(text: str) -> str:
    """Remove control characters and what XML 1.0 does not allow (section 2.2): Twilio would reject the document."""
    return _UNSPEAKABLE.sub("", text)


def connect(stream_url: str, token: str, redirect_url: str, status_callback: str) -> str:
    """Open a media stream with its token; when it ends, continue at ``redirect_url``."""
    response = VoiceResponse()
    target = Connect()
    stream = Stream(url=stream_url, status_callback=status_callback, status_callback_method="POST")
    stream.parameter(name="token", value=token)
    target.append(stream)
    response.append(target)
    response.redirect(redirect_url, method="POST")
    return str(response)


def wait(text: str, seconds: int, redirect_url: str) -> str:
    """Say a text and pause, then continue at ``redirect_url``."""
    response = VoiceResponse()
    response.say(speakable(text))
    response.pause(length=seconds)
    response.redirect(redirect_url, method="POST")
    return str(response)


def say_and_hang_up(text: str) -> str:
    response = VoiceResponse()
    response.say(speakable(text))
    response.hangup()
    return str(response)


def redirect(url: str) -> str:
    """Continue at ``url``."""
    response = VoiceResponse()
    response.redirect(url, method="POST")
    return str(response)


def hang_up() -> str:
    response = VoiceResponse()
    response.hangup()
    return str(response)


def enqueue(queue: str, *, wait_url: str, action_url: str) -> str:
    """Put the caller into a Twilio queue, repeating the TwiML at ``wait_url``; then continue at ``action_url``."""
    response = VoiceResponse()
    response.enqueue(queue, wait_url=wait_url, wait_url_method="POST", action=action_url, method="POST")
    return str(response)


def hold(text: str, seconds: int) -> str:
    """Say a text to a caller in a queue, and pause."""
    response = VoiceResponse()
    response.say(speakable(text))
    response.pause(length=seconds)
    return str(response)


def leave() -> str:
    """Take the caller out of the queue, to the queue's ``action_url``."""
    response = VoiceResponse()
    response.leave()
    return str(response)


def reject() -> str:
    """Reject the call without answering it, which costs nothing."""
    response = VoiceResponse()
    response.reject()
    return str(response)


def forward(number: str, *, caller_id: str, time_limit: int) -> str:
    """Forward the caller to a number (E.164) for at most ``time_limit`` seconds, then hang up.

    The call is answered when the number answers: until then the caller hears it ring, at no cost.
    """
    response = VoiceResponse()
    response.dial(number, caller_id=caller_id, time_limit=time_limit, answer_on_bridge=True)
    return str(response)


def dial(
    targets: Sequence[str], *, timeout: int, time_limit: int, caller_id: str, action_url: str, whisper_url: str = ""
) -> str:
    """Ring all of ``targets`` for ``timeout`` seconds, then continue at ``action_url``.

    Args:
        targets: E.164 numbers or SIP addresses; the first to answer is connected.
        timeout: seconds to ring.
        time_limit: maximum duration in seconds.
        caller_id: E.164; Twilio drops the call if it does not accept it (13214).
        action_url: requested with the result.
        whisper_url: TwiML that is played to the target first.
    """
    verb = Dial(timeout=timeout, time_limit=time_limit, caller_id=caller_id, action=action_url, method="POST")
    options = {"url": whisper_url, "method": "POST"} if whisper_url else {}
    for target in targets:
        (verb.sip if target.startswith("sip") else verb.number)(target, **options)
    response = VoiceResponse()
    response.append(verb)
    return str(response)


def say(text: str) -> str:
    """Say a text; the document ends there."""
    response = VoiceResponse()
    response.say(speakable(text))
    return str(response)

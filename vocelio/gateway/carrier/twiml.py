"""The TwiML documents that the gateway answers with: one function for each thing Twilio is asked to do."""

from collections.abc import Sequence

from twilio.twiml.voice_response import Connect, Dial, Stream, VoiceResponse


def connect(stream_url: str, token: str, then: str, told: str) -> str:
    """Open a media stream with its token; when the socket is closed, go on at ``then``. ``told`` hears how it fares."""
    response = VoiceResponse()
    target = Connect()
    stream = Stream(url=stream_url, status_callback=told, status_callback_method="POST")
    stream.parameter(name="token", value=token)
    target.append(stream)
    response.append(target)
    response.redirect(then, method="POST")
    return str(response)


def wait(text: str, seconds: int, then: str) -> str:
    """Ask the caller to wait for so long, then go on at ``then``."""
    response = VoiceResponse()
    response.say(text)
    response.pause(length=seconds)
    response.redirect(then, method="POST")
    return str(response)


def apologise(text: str) -> str:
    """Say it, and hang up."""
    response = VoiceResponse()
    response.say(text)
    response.hangup()
    return str(response)


def hang_up() -> str:
    """End the call."""
    response = VoiceResponse()
    response.hangup()
    return str(response)


def reject() -> str:
    """Do not answer; it costs nothing."""
    response = VoiceResponse()
    response.reject()
    return str(response)


def forward(number: str) -> str:
    """Put the caller through to a number (E.164), and hang up after that."""
    response = VoiceResponse()
    response.dial(number)
    return str(response)


def dial(
    numbers: Sequence[str], *, sip: str = "", timeout: float, action: str, whisper: str = "", caller_id: str = ""
) -> str:
    """Ring all of ``numbers`` (E.164), or a SIP address, for ``timeout`` seconds; then go on at ``action``.

    ``whisper`` is the URL of what the one who answers hears first.
    """
    options = {"caller_id": caller_id} if caller_id else {}
    target = Dial(timeout=round(timeout), action=action, method="POST", **options)
    for number in numbers:
        target.number(number, **({"url": whisper, "method": "POST"} if whisper else {}))
    if sip:
        target.sip(sip)
    response = VoiceResponse()
    response.append(target)
    return str(response)


def say(text: str) -> str:
    """Say it; the document ends there."""
    response = VoiceResponse()
    response.say(text)
    return str(response)

"""The TwiML documents that the gateway answers with: one function for each thing Twilio is asked to do."""

from collections.abc import Sequence

from twilio.twiml.voice_response import Connect, Dial, Stream, VoiceResponse


def connect(stream_url: str, token: str, redirect_url: str, status_callback: str) -> str:
    """Open a media stream with its token; when the socket is closed, go on at ``then``. ``told`` hears how it fares."""
    response = VoiceResponse()
    target = Connect()
    stream = Stream(url=stream_url, status_callback=status_callback, status_callback_method="POST")
    stream.parameter(name="token", value=token)
    target.append(stream)
    response.append(target)
    response.redirect(redirect_url, method="POST")
    return str(response)


def wait(text: str, seconds: int, redirect_url: str) -> str:
    """Ask the caller to wait for so long, then go on at ``then``."""
    response = VoiceResponse()
    response.say(text)
    response.pause(length=seconds)
    response.redirect(redirect_url, method="POST")
    return str(response)


def say_and_hang_up(text: str) -> str:
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


def enqueue(queue: str, *, wait_url: str, action_url: str) -> str:
    """Let the caller wait in a queue of Twilio's, with what ``wait`` says, over and over; then go on at ``action``."""
    response = VoiceResponse()
    response.enqueue(queue, wait_url=wait_url, wait_url_method="POST", action=action_url, method="POST")
    return str(response)


def hold(text: str, seconds: int) -> str:
    """For a caller in a queue: say it, and be silent for so long."""
    response = VoiceResponse()
    response.say(text)
    response.pause(length=seconds)
    return str(response)


def leave() -> str:
    """For a caller in a queue: out of it, to its action."""
    response = VoiceResponse()
    response.leave()
    return str(response)


def reject() -> str:
    """Do not answer; it costs nothing."""
    response = VoiceResponse()
    response.reject()
    return str(response)


def forward(number: str, *, caller_id: str, time_limit: int) -> str:
    """Put the caller through to a number (E.164) for at most so many seconds, and hang up after that.

    The call is answered when the number answers: until then the caller hears it ring, and nobody pays.
    """
    response = VoiceResponse()
    response.dial(number, caller_id=caller_id, time_limit=time_limit, answer_on_bridge=True)
    return str(response)


def dial(
    targets: Sequence[str], *, timeout: int, time_limit: int, caller_id: str, action_url: str, whisper_url: str = ""
) -> str:
    """Ring all of ``targets`` (E.164, or SIP addresses) for ``timeout`` seconds; then go on at ``action``.

    The first to answer has the call, for at most ``time_limit`` seconds; ``whisper`` is the URL of what they hear
    first. ``caller_id`` (E.164) is shown: Twilio loses a call with one that it does not take (13214).
    """
    verb = Dial(timeout=timeout, time_limit=time_limit, caller_id=caller_id, action=action_url, method="POST")
    options = {"url": whisper_url, "method": "POST"} if whisper_url else {}
    for target in targets:
        (verb.sip if target.startswith("sip") else verb.number)(target, **options)
    response = VoiceResponse()
    response.append(verb)
    return str(response)


def say(text: str) -> str:
    """Say it; the document ends there."""
    response = VoiceResponse()
    response.say(text)
    return str(response)

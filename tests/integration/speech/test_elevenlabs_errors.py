"""Error responses of the service, and the errors they are mapped to."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.emulators.elevenlabs import VOICE, ElevenLabsEmulator
from vocelio.engine.voice import Voice
from vocelio.gateway.config import ElevenLabsSettings
from vocelio.gateway.speech.elevenlabs import errors, realtime_protocol
from vocelio.gateway.speech.elevenlabs.recognizer import ElevenLabsRecognizer
from vocelio.gateway.speech.elevenlabs.synthesizer import ElevenLabsSynthesizer
from vocelio.gateway.speech.interfaces import AuthenticationFailed, RecognitionHints, RequestNotSupported, SpeechError
from vocelio.gateway.speech.local.recognizer import LocalRecognizer
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer


def make_voice(name: str) -> dict[str, object]:
    return {"detail": {"status": name, "message": "what was said: secret"}}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, make_voice("invalid_api_key"), AuthenticationFailed),
        (401, make_voice("quota_exceeded"), AuthenticationFailed),
        (402, {"detail": {"type": "payment_required", "code": "paid_plan_required"}}, RequestNotSupported),
        (402, None, AuthenticationFailed),
        (403, None, AuthenticationFailed),
        (429, make_voice("quota_exceeded"), AuthenticationFailed),
        (429, make_voice("too_many_concurrent_requests"), SpeechError),
        (429, make_voice("system_busy"), SpeechError),
        (500, "<html>secret</html>", SpeechError),
        (307, None, SpeechError),
        (None, None, SpeechError),
        (404, make_voice("voice_not_found"), RequestNotSupported),
        (400, make_voice("max_character_limit_exceeded"), RequestNotSupported),
        (422, {"detail": [{"loc": ["body", "text"], "input": "secret"}]}, RequestNotSupported),
        (400, make_voice("a secret\nline"), RequestNotSupported),
    ],
)
def test_http_error_is_mapped_to_account_request_or_service(status, body, expected: type[SpeechError]):
    error = errors.from_status(status, body)
    assert type(error) is expected
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auth_error", AuthenticationFailed),
        ("quota_exceeded", AuthenticationFailed),
        ("unaccepted_terms", AuthenticationFailed),
        ("rate_limited", SpeechError),
        ("queue_overflow", SpeechError),
        ("resource_exhausted", SpeechError),
        ("transcriber_error", SpeechError),
        ("error", SpeechError),
        ("something_new", SpeechError),
        ("input_error", RequestNotSupported),
        ("invalid_request", RequestNotSupported),
        ("chunk_size_exceeded", RequestNotSupported),
    ],
)
def test_error_message_is_mapped_to_account_request_or_service(name: str, expected: type[SpeechError]):
    match realtime_protocol.parse_message(f'{{"message_type": "{name}", "error": "what was said: secret"}}'):
        case realtime_protocol.SessionFailed(received_values):
            assert type(errors.from_message(received_values)) is expected
            assert "secret" not in str(errors.from_message(received_values))
        case other:
            pytest.fail(f"{other}")


@pytest.mark.parametrize("received", ["", "no json", b"\xff\xfe", "[]", '{"text": "a"}', '{"message_type": 5}'])
def test_invalid_message_raises_an_error(received):
    with pytest.raises(SpeechError, match="invalid message"):
        realtime_protocol.parse_message(received)


@pytest.mark.parametrize("kind", ["warning", "committed_transcript_with_timestamps", "edited_transcript", "new"])
def test_unknown_message_is_ignored(kind: str):
    assert realtime_protocol.parse_message(f'{{"message_type": "{kind}", "warning": "w", "text": "t"}}') is None


@pytest.fixture
async def other_emulator() -> AsyncIterator[ElevenLabsEmulator]:
    async with ElevenLabsEmulator(LocalRecognizer(), LocalSynthesizer(), ()) as emulator:
        yield emulator


async def test_redirect_is_not_followed_with_the_key(other_emulator: ElevenLabsEmulator):
    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(other_emulator.base_url + request.path_qs)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", redirect)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    account = ElevenLabsSettings(other_emulator.key, f"http://127.0.0.1:{runner.addresses[0][1]}")
    synthesizer, recognizer = ElevenLabsSynthesizer(account), ElevenLabsRecognizer(account)
    with pytest.raises(SpeechError, match="307"):
        await anext(synthesizer.speak("yes", Voice(tier="elevenlabs", name=VOICE)))
    outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    recognizer.open(RecognitionHints(("yes",)), lambda _: None, outcome.set_exception)
    with pytest.raises(SpeechError, match="307"):
        await outcome
    assert not other_emulator.requests
    await synthesizer.aclose()
    await recognizer.aclose()
    await runner.cleanup()


async def test_key_restricted_to_speech_is_accepted():
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response(make_voice("missing_permissions"), status=401)

    app = web.Application()
    app.router.add_get("/v1/models", refuse)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    synthesizer = ElevenLabsSynthesizer(ElevenLabsSettings("sk", f"http://127.0.0.1:{runner.addresses[0][1]}"))
    await synthesizer.start()
    await synthesizer.aclose()
    await runner.cleanup()

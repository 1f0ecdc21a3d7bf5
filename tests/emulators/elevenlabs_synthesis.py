"""Emulated text-to-speech endpoint: POST /v1/text-to-speech/{voice_id}/stream, in mu-law."""

import asyncio
from dataclasses import dataclass

from aiohttp import web

from tests.emulators.elevenlabs_errors import FAULT_KEY, abort_connection, error_response
from vocelio.engine.voice import Voice
from vocelio.gateway.speech.local.synthesizer import LocalSynthesizer

CHUNK_BYTES = 1600  # 200 ms of mu-law
PACE_FACTOR = 10  # multiple of real time, about that of Flash
DRIP_SECONDS = 0.1
MAX_TEXT_CHARACTERS = 40_000  # limit of Flash

FORMATS = {
    "alaw_8000", "mp3_22050_32", "mp3_24000_48", "mp3_44100_32", "mp3_44100_64", "mp3_44100_96", "mp3_44100_128",
    "mp3_44100_192", "opus_48000_32", "opus_48000_64", "opus_48000_96", "opus_48000_128", "opus_48000_192",
    "pcm_8000", "pcm_16000", "pcm_22050", "pcm_24000", "pcm_32000", "pcm_44100", "pcm_48000", "ulaw_8000",
    "wav_8000", "wav_16000", "wav_22050", "wav_24000", "wav_32000", "wav_44100", "wav_48000",
}  # fmt: skip


@dataclass
class SynthesisRequest:
    """One synthesis request and its result."""

    text: str
    voice_id: str
    model: str
    language: str | None
    speed: float
    sound: bytes = b""  # audio sent so far
    cancelled: bool = False


class SynthesisEndpoint:
    """Synthesizes speech locally; ``voices`` maps voice ids to voices of espeak-ng."""

    models = {
        "eleven_flash_v2_5": True,
        "eleven_turbo_v2_5": True,
        "eleven_multilingual_v2": False,
    }  # whether the model accepts a language

    def __init__(self, synthesizer: LocalSynthesizer, voices: dict[str, str]) -> None:
        self._synthesizer, self._voices = synthesizer, voices
        self.spoken: list[SynthesisRequest] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request[FAULT_KEY] == "silent":
            await asyncio.Event().wait()
        if request[FAULT_KEY] == "garbage":
            return web.Response(body=b'{"sound": "none"}', content_type="application/json")
        parsed = await self._parse_request(request)
        if isinstance(parsed, web.Response):
            return parsed
        self.spoken.append(parsed)
        response = web.StreamResponse(headers={"Content-Type": "audio/basic"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        try:
            await self._speak(parsed, request, response)
        except (asyncio.CancelledError, ConnectionError):
            parsed.cancelled = True
            raise
        return response

    async def _speak(self, parsed: SynthesisRequest, request: web.Request, response: web.StreamResponse) -> None:
        fault = request[FAULT_KEY]
        voice = Voice(name=self._voices[parsed.voice_id], speed=parsed.speed)
        sound = b"".join([chunk async for chunk in self._synthesizer.speak(parsed.text, voice)])
        for start in range(0, len(sound), CHUNK_BYTES):
            chunk = sound[start : start + CHUNK_BYTES]
            await response.write(chunk)
            parsed.sound += chunk
            if fault == "stall":
                await asyncio.Event().wait()
            if fault == "abrupt":
                abort_connection(request)
            await asyncio.sleep(len(chunk) / 8000 / (DRIP_SECONDS if fault == "drip" else PACE_FACTOR))
        if fault == "slow_close":
            await asyncio.sleep(5)
        await response.write_eof()

    async def _parse_request(self, request: web.Request) -> SynthesisRequest | web.Response:
        """Return the parsed request or an error response."""
        output_format = request.query.get("output_format", "mp3_44100_128")
        body = await request.json()
        if output_format not in FORMATS or not isinstance(body.get("text"), str):
            loc = ["query", "output_format"] if output_format not in FORMATS else ["body", "text"]
            detail = [{"type": "value_error", "loc": loc, "msg": "Invalid value", "input": body.get("text")}]
            return web.json_response({"detail": detail}, status=422)
        if output_format != "ulaw_8000":
            return error_response(400, "output_format_not_emulated", f"{output_format} is not emulated")
        model, language = body.get("model_id", "eleven_multilingual_v2"), body.get("language_code")
        speed = (body.get("voice_settings") or {}).get("speed", 1.0)
        voice_id = request.match_info["voice_id"]
        if voice_id not in self._voices:
            return error_response(404, "voice_not_found", f"A voice with the voice_id {voice_id} was not found.")
        if model not in self.models:
            return error_response(400, "model_not_found", f"A model with the id {model} was not found.")
        if language is not None and not (self.models[model] and len(language) == 2):
            return error_response(400, "unsupported_language", f"Model {model} does not take the language {language}.")
        if not 0.7 <= speed <= 1.2:
            return error_response(400, "invalid_voice_settings", "Speed must be between 0.7 and 1.2")
        if len(body["text"]) > MAX_TEXT_CHARACTERS:
            return error_response(400, "max_character_limit_exceeded", "The text is too long")
        if body["text"].startswith("quota "):  # simulates an exhausted quota
            return error_response(401, "quota_exceeded", "This request exceeds your quota.")
        return SynthesisRequest(body["text"], voice_id, model, language, speed)

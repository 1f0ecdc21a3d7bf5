"""Twilio's end of a media socket on a virtual clock: sends frames, plays audio, returns marks."""

import asyncio
import base64
import json
from collections import deque

from vocelio.codecs.wav import MULAW_HEADER_BYTES
from vocelio.engine.validation.loader import load_flow
from vocelio.gateway.calls.call_record import CallRecord
from vocelio.gateway.calls.components import build_call_components
from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.calls.session.media_socket import MediaSocket
from vocelio.gateway.events import TRANSIENT_TYPES, EventBus
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.model.directory import CallConfig
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.recordings.service import RecordingService
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.providers import single_provider
from vocelio.gateway.storage.interfaces import MemoryStorage
from vocelio.gateway.store.in_memory import InMemoryCallStore, InMemoryDirectory
from vocelio.gateway.store.recordings import InMemoryRecordingCatalog

ACCOUNT, CALL, STREAM = "AC" + "0" * 32, "CA" + "1" * 32, "MZ" + "2" * 32
TENANT = Tenant(id="harbour", name="Harbour Tools")
NUMBER = "+13072249663"
SIGNING_KEY = "a key that all processes share"
STARTED_AT = 1_700_000_000_000_000  # microseconds UTC
SILENT_PAYLOAD = base64.b64encode(b"\xff" * 160).decode()


def split_channels(file, recording):
    """Split a recording's WAV file into its channels, mu-law."""
    sound = file[MULAW_HEADER_BYTES : MULAW_HEADER_BYTES + int.from_bytes(file[54:58], "little")]
    return tuple(sound[side :: recording.channels] for side in range(recording.channels))


class CallEnv:
    """The calls of one process, with one flow, scripted recognition, a tone as voice, and all published events."""

    def __init__(
        self,
        flow,
        *texts,
        recognizer=None,
        synthesizer=None,
        speech=None,
        call_store=None,
        site=InMemoryDirectory,
        tenant=TENANT,
        **parts,
    ):
        loop = asyncio.get_running_loop()
        self.events = []
        self.clock_offset_seconds = 0.0
        bus = EventBus()
        self.transient_events = []
        # CallEventPublisher uses nothing else of the bus.
        bus.publish = lambda event: (self.transient_events if event.type in TRANSIENT_TYPES else self.events).append(
            event
        )
        self.call_store = call_store or InMemoryCallStore()
        departments = {"sales": Department(("+13105550111",)), "desk": Department(("+13105550110",))}
        facts = {"tenant": tenant, "departments": departments, "sounds": {"jingle": b"\x7e" * 8000}, **parts}
        version = load_flow(json.dumps(flow).encode())
        self.call_config = CallConfig(number=NUMBER, flow="flow", version=version, **facts)
        self.recognizer = recognizer or ScriptedRecognizer(texts)

        def wall():
            return STARTED_AT + round((loop.time() + self.clock_offset_seconds) * 1e6)

        self.storage, self.catalog = MemoryStorage(wall), InMemoryRecordingCatalog()
        self.calls = build_call_components(
            CallServices(
                site([self.call_config], {("harbour", "token"): "hush"}, self.call_store),
                speech or single_provider(self.recognizer, synthesizer or ToneSynthesizer()),
                bus,
                HttpClient(),
                self.call_store,
                wall,
                RecordingService(self.storage, self.catalog, wall, "https://gateway.example"),
            ),
            [SIGNING_KEY],
        )
        self.registry = self.calls.registry
        record = CallRecord.create(CALL, ACCOUNT, "+13105550142", self.call_config, self.calls.services.wall_clock())
        InMemoryCallStore.save(self.call_store, record.snapshot(self.calls.services.wall_clock()))

    @property
    def call_record(self):
        """The call's record: of its session, or from the store."""
        if live := self.registry.live_calls.get(CALL):
            return live._record
        stored = self.stored_call
        record = CallRecord.from_stored(stored, self.call_config)
        record.stored.ended_at, record.stored.outcome = stored.ended_at, stored.outcome
        return record

    @property
    def stored_call(self):
        """The call as it was saved last."""
        return self.call_store.calls[CALL]

    def stream_token(self):
        """Issue a token as /twilio/voice and /twilio/continue do."""
        return self.calls.lifecycle.issue_stream_token(TENANT.id, ACCOUNT, CALL, self.stored_call.generation)

    async def report_ended(self):
        """Report the call's end as Twilio does."""
        await self.registry.on_call_completed(ACCOUNT, CALL)

    def shift_clock(self, seconds):
        """Set the wall clock forward or back."""
        self.clock_offset_seconds += seconds

    async def wait_for_recordings(self):
        """Return every recording with its channels, once all are finalized."""
        await self.calls.services.recordings.aclose()
        return [
            (item, split_channels(self.storage.objects[item.object_path], item))
            for item in self.catalog.recordings.values()
        ]

    def data_of(self, kind):
        return [event.data for event in self.events if event.type == kind]


class TwilioPeer:
    """One media socket. Use ``run`` to let time pass."""

    def __init__(self, env, token=None, call=CALL, account=ACCOUNT):
        self.loop = asyncio.get_running_loop()
        self.socket = MediaSocket(env.registry, account, self)
        self.sequence = 0
        self.sent_messages = []  # every message of the gateway
        self.close_code = None
        self.pending_marks = deque()
        self.playback_ends_at = 0.0
        self.heard = 0.0
        self.returns_marks = True
        self.deliver({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        if token is not None:
            self.start(token, call)

    # The gateway's transport

    def send(self, message):
        assert self.close_code is None
        message = json.loads(message)
        self.sent_messages.append(message)
        match message["event"]:
            case "media":
                seconds = len(base64.b64decode(message["media"]["payload"])) / 8000
                self.playback_ends_at = max(self.playback_ends_at, self.loop.time()) + seconds
            case "mark":
                handle = self.loop.call_at(max(self.playback_ends_at, self.loop.time()), self.return_mark)
                self.pending_marks.append((message["mark"]["name"], handle))
            case "clear":
                self.playback_ends_at = self.loop.time()
                for _, handle in self.pending_marks:
                    handle.cancel()
                    self.loop.call_soon(self.return_mark)

    def close(self, code, reason=""):
        self.close_code = self.close_code or code

    # Twilio

    def deliver(self, message):
        self.socket.on_message(json.dumps(message))

    def deliver_numbered(self, event, **body):
        self.sequence += 1
        self.deliver({"event": event, "sequenceNumber": str(self.sequence), "streamSid": STREAM, **body})

    def start(self, token, call=CALL):
        facts = {
            "accountSid": ACCOUNT,
            "streamSid": STREAM,
            "callSid": call,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": token},
        }
        self.deliver_numbered("start", start=facts)

    def return_mark(self):
        name, _ = self.pending_marks.popleft()
        if self.returns_marks and self.close_code is None:
            self.deliver_numbered("mark", mark={"name": name})

    def deliver_frame(self, payload=SILENT_PAYLOAD):
        self.deliver_numbered("media", media={"track": "inbound", "chunk": "1", "timestamp": "0", "payload": payload})

    def press_key(self, key):
        self.deliver_numbered("dtmf", dtmf={"track": "inbound_track", "digit": key})

    async def wait_admission(self):
        """Wait until the gateway has accepted or refused the stream."""
        await asyncio.wait({self.socket._admission})

    async def run(self, seconds, sound=b""):
        """Let time pass while the caller sends ``sound`` (mu-law), then silence; stop when the socket is closed."""
        for index in range(round(seconds / 0.02)):
            if self.close_code is not None:
                return
            piece = sound[index * 160 : index * 160 + 160]
            self.deliver_frame(base64.b64encode(piece.ljust(160, b"\xff")).decode() if piece else SILENT_PAYLOAD)
            await asyncio.sleep(0.02)

    async def disconnect(self):
        """Close the socket."""
        self.socket.on_close()
        await self.socket.wait_closed()
        for _, handle in self.pending_marks:
            handle.cancel()

    def sent_seconds(self):
        """Return the seconds of audio that the gateway sent."""
        return (
            sum(len(base64.b64decode(m["media"]["payload"])) for m in self.sent_messages if m["event"] == "media")
            / 8000
        )

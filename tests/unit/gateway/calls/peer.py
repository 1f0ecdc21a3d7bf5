"""Twilio's end of a media socket, on a virtual clock: sends frames, plays what it gets, gives marks back."""

import asyncio
import base64
import json
from collections import deque

from vocelio.codecs.wav import MULAW_HEADER
from vocelio.engine.validation.loader import load
from vocelio.gateway.calls.call_record import CallRecord
from vocelio.gateway.calls.interfaces import Services
from vocelio.gateway.calls.registry import Calls
from vocelio.gateway.calls.session.media_socket import MediaSocket
from vocelio.gateway.events import PASSING, EventBus
from vocelio.gateway.http_client.client import Fetcher
from vocelio.gateway.model.directory import Assignment
from vocelio.gateway.model.tenant import Department, Tenant
from vocelio.gateway.recordings.service import Recordings
from vocelio.gateway.speech.fakes import ScriptedRecognizer, ToneSynthesizer
from vocelio.gateway.speech.services import only
from vocelio.gateway.storage.memory import MemoryStorage
from vocelio.gateway.store.in_memory import MemoryJournal, MemorySite
from vocelio.gateway.store.recordings import MemoryCatalogue

ACCOUNT, CALL, STREAM = "AC" + "0" * 32, "CA" + "1" * 32, "MZ" + "2" * 32
TENANT = Tenant(id="harbour", name="Harbour Tools")
NUMBER = "+13072249663"
START = 1_700_000_000_000_000  # microseconds UTC
SILENT = base64.b64encode(b"\xff" * 160).decode()


def sides(file, recording):
    """The sides of a recording's WAV file, in mu-law."""
    sound = file[MULAW_HEADER : MULAW_HEADER + int.from_bytes(file[54:58], "little")]
    return tuple(sound[side :: recording.channels] for side in range(recording.channels))


class World:
    """A registry with one flow, scripted ears, a tone for a voice, and everything that was published."""

    def __init__(
        self,
        flow,
        *texts,
        recognizer=None,
        synthesizer=None,
        speech=None,
        journal=None,
        site=MemorySite,
        tenant=TENANT,
        **parts,
    ):
        loop = asyncio.get_running_loop()
        self.events = []
        self.clock_set_by = 0.0
        bus = EventBus()
        self.glimpses = []
        # The bus's port: whoever publishes calls just this.
        bus.publish = lambda event: (self.glimpses if event.type in PASSING else self.events).append(event)
        self.journal = journal or MemoryJournal()
        departments = {"sales": Department(("+13105550111",)), "desk": Department(("+13105550110",))}
        facts = {"tenant": tenant, "departments": departments, "sounds": {"jingle": b"\x7e" * 8000}, **parts}
        version = load(json.dumps(flow).encode())
        self.assignment = Assignment(number=NUMBER, flow="flow", version=version, **facts)
        self.recognizer = recognizer or ScriptedRecognizer(texts)

        def wall():
            return START + round((loop.time() + self.clock_set_by) * 1e6)

        self.storage, self.catalogue = MemoryStorage(wall), MemoryCatalogue()
        self.calls = Calls(
            Services(
                site([self.assignment], {("harbour", "token"): "hush"}, self.journal),
                speech or only(self.recognizer, synthesizer or ToneSynthesizer()),
                bus,
                Fetcher(),
                self.journal,
                wall,
                Recordings(self.storage, self.catalogue, wall, "https://gateway.example"),
            )
        )
        record = CallRecord(CALL, ACCOUNT, "+13105550142", self.assignment, self.calls.services.wall())
        MemoryJournal.save(self.journal, record.saved(self.calls.services.wall()))

    @property
    def record(self):
        """The call as it is: its stream's, or what was kept of it."""
        if live := self.calls.live.get(CALL):
            return live._record
        kept = self.kept
        record = CallRecord.found(kept, self.assignment)
        record.ended, record.outcome = kept.ended, kept.outcome
        return record

    @property
    def kept(self):
        """The call as it was saved last."""
        return self.journal.calls[CALL]

    def token(self):
        """What /twilio/voice and /twilio/continue give out."""
        return self.calls.token(TENANT.id, ACCOUNT, CALL, self.kept.generation)

    async def status(self):
        """Twilio says that the call is over."""
        await self.calls.over(ACCOUNT, CALL)

    def set_clock(self, seconds):
        """Somebody sets the wall clock, forward or back."""
        self.clock_set_by += seconds

    async def recorded(self):
        """Every recording, once all are whole, with its sides."""
        await self.calls.services.recordings.aclose()
        return [(one, sides(self.storage.objects[one.object], one)) for one in self.catalogue.recordings.values()]

    def of(self, kind):
        return [event.data for event in self.events if event.type == kind]


class Peer:
    """One socket. Use ``run`` to let time pass on the line."""

    def __init__(self, world, token=None, call=CALL, account=ACCOUNT):
        self.loop = asyncio.get_running_loop()
        self.socket = MediaSocket(world.calls, account, self)
        self.sequence = 0
        self.sent = []  # every message of the gateway
        self.code = None
        self.playing = deque()
        self.free_at = 0.0
        self.heard = 0.0
        self.returns_marks = True
        self.say({"event": "connected", "protocol": "Call", "version": "1.0.0"})
        if token is not None:
            self.start(token, call)

    # The gateway's transport

    def send(self, message):
        assert self.code is None
        message = json.loads(message)
        self.sent.append(message)
        match message["event"]:
            case "media":
                seconds = len(base64.b64decode(message["media"]["payload"])) / 8000
                self.free_at = max(self.free_at, self.loop.time()) + seconds
            case "mark":
                handle = self.loop.call_at(max(self.free_at, self.loop.time()), self.give_mark)
                self.playing.append((message["mark"]["name"], handle))
            case "clear":
                self.free_at = self.loop.time()
                for _, handle in self.playing:
                    handle.cancel()
                    self.loop.call_soon(self.give_mark)

    def close(self, code, reason=""):
        self.code = self.code or code

    # Twilio

    def say(self, message):
        self.socket.received(json.dumps(message))

    def numbered(self, event, **body):
        self.sequence += 1
        self.say({"event": event, "sequenceNumber": str(self.sequence), "streamSid": STREAM, **body})

    def start(self, token, call=CALL):
        facts = {
            "accountSid": ACCOUNT,
            "streamSid": STREAM,
            "callSid": call,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": token},
        }
        self.numbered("start", start=facts)

    def give_mark(self):
        name, _ = self.playing.popleft()
        if self.returns_marks and self.code is None:
            self.numbered("mark", mark={"name": name})

    def frame(self, payload=SILENT):
        self.numbered("media", media={"track": "inbound", "chunk": "1", "timestamp": "0", "payload": payload})

    def press(self, key):
        self.numbered("dtmf", dtmf={"track": "inbound_track", "digit": key})

    async def admitted(self):
        """Until the gateway has let the stream in, or has not."""
        await asyncio.wait({self.socket._admission})

    async def run(self, seconds, sound=b""):
        """Let so much time pass, the caller making ``sound`` (mu-law), then silence; stops when we are closed."""
        for index in range(round(seconds / 0.02)):
            if self.code is not None:
                return
            piece = sound[index * 160 : index * 160 + 160]
            self.frame(base64.b64encode(piece.ljust(160, b"\xff")).decode() if piece else SILENT)
            await asyncio.sleep(0.02)

    async def gone(self):
        """The socket is closed, by whomever."""
        self.socket.closed()
        await self.socket.wait_closed()
        for _, handle in self.playing:
            handle.cancel()

    def spoken(self):
        """Seconds of sound that were sent."""
        return sum(len(base64.b64decode(m["media"]["payload"])) for m in self.sent if m["event"] == "media") / 8000

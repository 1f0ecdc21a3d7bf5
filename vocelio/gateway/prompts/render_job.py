"""One sentence rendered: spoken, kept, entered as ready; or what is to become of it when that fails.

What was spoken is paid for. So while the storage or the database does not take it, it is held, and nothing else of the
kind is made: only the keeping is tried again.
"""

import asyncio
import logging

from cachetools import LRUCache

from vocelio.gateway.clock import WallClock
from vocelio.gateway.errors import StorageUnavailable
from vocelio.gateway.prompts.cache import Shelf
from vocelio.gateway.prompts.keys import fingerprint
from vocelio.gateway.prompts.manifest import Renders, Synthesise
from vocelio.gateway.speech.interfaces import CredentialsRefused, SpeechError
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.prompts import render_queue
from vocelio.gateway.store.prompts.render_queue import Task

LOG = logging.getLogger(__name__)

SPEAK_SECONDS = 40.0  # for one sentence: services make a sentence in one or two
FIRST_PAUSE, LONGEST_PAUSE = 10, 3_600  # seconds after a failure; each further one doubles it: nine in the first hour
NOBODY_SECONDS = 60  # until a tier that nobody renders, or whose key was refused, is tried again
ELSEWHERE_SECONDS = 3_600  # what is spoken in another voice now is not wanted any more: soon it is collected
UNKEPT = 32  # sentences held while they cannot be kept

SECOND = 1_000_000  # microseconds
OUR_MISTAKE = "This is our mistake. The gateway's log says more."


class Making:
    """``paused`` has the tiers that are to be left alone, each until when (microseconds UTC)."""

    def __init__(
        self, database: Database, shelf: Shelf, renders: Renders, synthesise: Synthesise, wall: WallClock
    ) -> None:
        self._database, self._shelf, self._wall = database, shelf, wall
        self._renders, self._synthesise = renders, synthesise
        self._paused: dict[str, int] = {}
        self._away = False  # the storage, when it was last asked
        self._unkept: LRUCache[tuple[str, str], bytes] = LRUCache(UNKEPT)

    def paused(self) -> list[str]:
        """The tiers that nothing is to be rendered of at present."""
        now = self._wall()
        return [tier for tier, until in self._paused.items() if until > now]

    async def make(self, task: Task) -> None:
        """Render a sentence. Raises StoreUnavailable: then it is done again when the claim ends, but not spoken."""
        voice = self._renders(task.voice)
        if voice is None:
            self._pause(task)
            await render_queue.give_back(self._database, task)
        elif fingerprint(voice) != fingerprint(task.voice):
            await render_queue.give_back(self._database, task, self._wall() + ELSEWHERE_SECONDS * SECOND)
        else:
            await self._make(task)

    async def _make(self, task: Task) -> None:
        key = (task.tenant, task.id)
        if self._away and key not in self._unkept:
            await self._knock(task)
        sound = self._unkept.get(key) or await self._spoken(task)
        if not sound:
            return
        self._unkept[key] = sound
        try:
            await self._keep(*key, sound)
        except StorageUnavailable as error:
            await self._failed(task, f"It cannot be kept. {error}")
            raise
        await render_queue.finish(self._database, task, len(sound), self._wall())
        self._unkept.pop(key, None)

    async def _keep(self, tenant: str, one: str, sound: bytes) -> None:
        try:
            await self._shelf.keep(tenant, one, sound)
        except StorageUnavailable:
            self._away = True
            raise
        self._away = False

    async def _knock(self, task: Task) -> None:
        """Nothing more is spoken before what was spoken can be kept. Raises StorageUnavailable."""
        for (tenant, one), sound in list(self._unkept.items())[:1]:
            try:
                await self._keep(tenant, one, sound)
            except StorageUnavailable:
                await render_queue.give_back(self._database, task)
                raise

    async def _spoken(self, task: Task) -> bytes:
        """Its sound; empty when there is none, which the row says then."""
        try:
            async with asyncio.timeout(SPEAK_SECONDS):
                sound = await self._synthesise(task.sentence, task.voice)
        except TimeoutError:
            problem = f"It took more than {SPEAK_SECONDS:.0f} seconds."
        except SpeechError as error:
            problem = str(error)
            if isinstance(error, CredentialsRefused):
                self._pause(task)
        except Exception:
            LOG.exception("the prompt %s of %s failed", task.id, task.tenant)
            problem = OUR_MISTAKE
        else:
            if sound:
                return sound
            problem = "The voice says nothing."
        await self._failed(task, problem)
        return b""

    async def _failed(self, task: Task, problem: str) -> None:
        LOG.warning("a prompt of %s is not rendered: %s", task.tenant, problem)
        due = self._wall() + backoff(task.attempts + 1) * SECOND
        await render_queue.fail(self._database, task, problem, due)

    def _pause(self, task: Task) -> None:
        self._paused[task.voice.tier] = self._wall() + NOBODY_SECONDS * SECOND


def backoff(attempts: int) -> int:
    """Seconds from a failure to the next try; ``attempts`` counts the failures."""
    return min(FIRST_PAUSE << min(attempts - 1, 20), LONGEST_PAUSE)

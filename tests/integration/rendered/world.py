"""A tenant with a flow, a voice that does as it is told, and renderers that share the work."""

import asyncio
from dataclasses import dataclass, field

from tests.integration.store.things import document, tenant
from tests.speaker import Speaker
from vocelio.engine.voice import Voice
from vocelio.gateway.errors import StorageUnavailable
from vocelio.gateway.prompts.cache import Shelf
from vocelio.gateway.prompts.manifest import Plans
from vocelio.gateway.prompts.progress import progress
from vocelio.gateway.prompts.render_worker import Renderer
from vocelio.gateway.storage.memory import MemoryStorage
from vocelio.gateway.store.flows import drafts, promotion

START = 1_700_000_000_000_000  # microseconds UTC
SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
HARBOUR = "harbour"


class Storage(MemoryStorage):
    """Counts what it is asked for, and may be away."""

    def __init__(self, wall):
        super().__init__(wall)
        self.away, self.asked = False, []

    async def put(self, path, body):
        """See Storage."""
        self._answer("put", path)
        await super().put(path, body)

    async def get(self, path, start, end):
        """See Storage."""
        self._answer("get", path)
        await asyncio.sleep(0)
        return await super().get(path, start, end)

    def _answer(self, *what):
        self.asked.append(what)
        if self.away:
            raise StorageUnavailable("no route to host")


def as_written(voice):
    """Every voice is rendered as it is."""
    return voice


@dataclass
class World:
    """What all of a test's processes share: the database, the storage, the clock, the provider."""

    database: object
    actor: object
    now: int = START
    speaker: Speaker = field(default_factory=Speaker)
    renders: object = as_written
    flows: set = field(default_factory=set)

    def __post_init__(self):
        self.storage = Storage(self.wall)

    def wall(self):
        """The time."""
        return self.now

    def shelf(self, **options):
        """Another process's."""
        return Shelf(self.storage, self.database, self.wall, **options)

    def renderer(self, **options):
        """Another process's."""
        plans = Plans(lambda voice: self.renders(voice))
        return Renderer(self.database, self.shelf(), plans, self.speaker, self.wall, **options)

    async def tenant(self, name=HARBOUR, **settings):
        """Make one."""
        await tenant(self.database, self.actor, name, **settings)

    async def promote(self, text="Good day. How are you?", flow="desk", name=HARBOUR, **parts):
        """Make it the active version."""
        who = self.actor(name)
        seen = 0 if (name, flow) in self.flows else None
        self.flows.add((name, flow))
        await drafts.put(self.database, who, flow, document(text, **parts), seen)
        return await promotion.promote(self.database, who, flow, "")

    async def progress(self, renderer, flow="desk", name=HARBOUR):
        """How far it is."""
        return await progress(self.database, renderer.plans, name, flow, self.now)

    async def rendered(self, renderer):
        """Enter and render all that is to be: how many were."""
        await renderer.keeper.reconcile()
        return await renderer.run_due()

    async def until(self, true):
        """When that has come true."""
        async with asyncio.timeout(20):
            while not await true():  # noqa: ASYNC110 (what other processes do is seen in the database only)
                await asyncio.sleep(0.01)


AVA = Voice("azure", "en-US-AvaNeural")

"""A tenant with a flow, a voice that does as it is told, and renderers that share the work."""

import asyncio
from dataclasses import dataclass, field

from tests.support.fake_synthesizer import FakeSynthesizer
from tests.support.tenant_fixtures import create_tenant, flow_document
from vocelio.engine.voice import Voice
from vocelio.gateway.errors import StorageUnavailable
from vocelio.gateway.prompts.cache import PromptCache
from vocelio.gateway.prompts.manifest import PromptManifests
from vocelio.gateway.prompts.progress import get_progress
from vocelio.gateway.prompts.render_worker import PromptRenderWorker
from vocelio.gateway.storage.interfaces import MemoryStorage
from vocelio.gateway.store.flows import drafts, promotion

START = 1_700_000_000_000_000  # microseconds UTC
SECOND, HOUR, DAY = 1_000_000, 3_600_000_000, 86_400_000_000
HARBOUR = "harbour"


class FaultyStorage(MemoryStorage):
    """Counts what it is asked for, and may be away."""

    def __init__(self, wall):
        super().__init__(wall)
        self.is_unavailable, self.requests = False, []

    async def put(self, path, body):
        """See Storage."""
        self._record("put", path)
        await super().put(path, body)

    async def get(self, path, start, end):
        """See Storage."""
        self._record("get", path)
        await asyncio.sleep(0)
        return await super().get(path, start, end)

    def _record(self, *what):
        self.requests.append(what)
        if self.is_unavailable:
            raise StorageUnavailable("no route to host")


def same_voice(voice):
    """Every voice is rendered as it is."""
    return voice


@dataclass
class PromptEnv:
    """What all of a test's processes share: the database, the storage, the clock, the provider."""

    database: object
    actor: object
    now: int = START
    synthesizer: FakeSynthesizer = field(default_factory=FakeSynthesizer)
    resolve_voice: object = same_voice
    flows: set = field(default_factory=set)

    def __post_init__(self):
        self.storage = FaultyStorage(self.wall)

    def wall(self):
        """The time."""
        return self.now

    def create_cache(self, **options):
        """Another process's."""
        return PromptCache(self.storage, self.database, self.wall, **options)

    def create_worker(self, **options):
        """Another process's."""
        plans = PromptManifests(lambda voice: self.resolve_voice(voice))
        return PromptRenderWorker(self.database, self.create_cache(), plans, self.synthesizer, self.wall, **options)

    async def create_tenant(self, name=HARBOUR, **settings):
        """Make one."""
        await create_tenant(self.database, self.actor, name, **settings)

    async def promote_flow(self, text="Good day. How are you?", flow="desk", name=HARBOUR, **parts):
        """Make it the active version."""
        who = self.actor(name)
        seen = 0 if (name, flow) in self.flows else None
        self.flows.add((name, flow))
        await drafts.put_flow(self.database, who, flow, flow_document(text, **parts), seen)
        return await promotion.promote_flow(self.database, who, flow, "")

    async def get_progress(self, renderer, flow="desk", name=HARBOUR):
        """How far it is."""
        return await get_progress(self.database, renderer.manifests, name, flow, self.now)

    async def render_all(self, renderer):
        """Enter and render all that is to be: how many were."""
        await renderer.reconciler.reconcile()
        return await renderer.run_due()

    async def wait_until(self, true):
        """When that has come true."""
        async with asyncio.timeout(20):
            while not await true():  # noqa: ASYNC110 (what other processes do is seen in the database only)
                await asyncio.sleep(0.01)


AVA_VOICE = Voice("azure", "en-US-AvaNeural")

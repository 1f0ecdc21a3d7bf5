"""Environment of prompt cache tests: a tenant, a fake synthesizer, a faulty storage, a manual clock."""

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
    """In-memory storage that records requests, and can be unavailable."""

    def __init__(self, wall):
        super().__init__(wall)
        self.is_unavailable, self.requests = False, []

    async def put(self, path, body):
        self._record("put", path)
        await super().put(path, body)

    async def get(self, path, start, end):
        self._record("get", path)
        await asyncio.sleep(0)
        return await super().get(path, start, end)

    def _record(self, *request):
        self.requests.append(request)
        if self.is_unavailable:
            raise StorageUnavailable("no route to host")


def same_voice(voice):
    """Resolve every voice to itself."""
    return voice


@dataclass
class PromptEnv:
    """What all processes of a test share: database, storage, clock, provider."""

    database: object
    actor: object
    now: int = START
    synthesizer: FakeSynthesizer = field(default_factory=FakeSynthesizer)
    resolve_voice: object = same_voice
    flows: set = field(default_factory=set)

    def __post_init__(self):
        self.storage = FaultyStorage(self.wall)

    def wall(self):
        return self.now

    def create_cache(self, **options):
        """Create the cache of another process."""
        return PromptCache(self.storage, self.database, self.wall, **options)

    def create_worker(self, **options):
        """Create the render worker of another process."""
        manifests = PromptManifests(lambda voice: self.resolve_voice(voice))
        return PromptRenderWorker(self.database, self.create_cache(), manifests, self.synthesizer, self.wall, **options)

    async def create_tenant(self, name=HARBOUR, **settings):
        await create_tenant(self.database, self.actor, name, **settings)

    async def promote_flow(self, text="Good day. How are you?", flow="desk", name=HARBOUR, **parts):
        """Save a flow and make it the active version."""
        actor = self.actor(name)
        revision = 0 if (name, flow) in self.flows else None
        self.flows.add((name, flow))
        await drafts.put_flow(self.database, actor, flow, flow_document(text, **parts), revision)
        return await promotion.promote_flow(self.database, actor, flow, "")

    async def get_progress(self, worker, flow="desk", name=HARBOUR):
        """Return the progress of a flow."""
        return await get_progress(self.database, worker.manifests, name, flow, self.now)

    async def render_all(self, worker):
        """Enqueue and render everything; return how many sentences were rendered."""
        await worker.reconciler.reconcile()
        return await worker.process_due()

    async def wait_until(self, is_true):
        """Poll until the condition is true."""
        async with asyncio.timeout(20):
            while not await is_true():  # noqa: ASYNC110 (changes of other processes are visible only in the database)
                await asyncio.sleep(0.01)


AVA_VOICE = Voice("azure", "en-US-AvaNeural")

"""What a call asks for: its flow's sentences in memory when it begins, and each of them when it is to be said."""

from vocelio.engine.flow import FlowVersion
from vocelio.engine.voice import Voice
from vocelio.gateway.rendered.plans import Plans
from vocelio.gateway.rendered.shelf import Shelf
from vocelio.gateway.store.site import Tenant


class Rendered:
    """The shelf, and what is to be on it."""

    def __init__(self, shelf: Shelf, plans: Plans) -> None:
        self.shelf, self.plans = shelf, plans

    def get(self, tenant: str, voice: Voice, sentence: str) -> bytes | None:
        """The mu-law of a sentence in the voice that would speak it now, if it is at hand. Never waits."""
        return self.shelf.get(tenant, voice, sentence)

    async def prepare(self, tenant: Tenant, version: FlowVersion) -> None:
        """A call begins: have what it may say at hand. Raises nothing of the store's; takes ten seconds at most."""
        plan = await self.plans.of(tenant, version)
        await self.shelf.load(tenant.id, [one.id for one in plan.wanted])

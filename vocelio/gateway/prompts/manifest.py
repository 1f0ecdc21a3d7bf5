"""What is to be there for a version of a flow: its sentences in the voices that they are rendered in.

It takes milliseconds to work out, at worst a second, and every call of the version needs it: so it is remembered, and
worked out in a thread. It is another when the version is, or what the tenant says of itself.

What rendering needs of others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from cachetools import LRUCache

from vocelio.engine.call_info import TenantFacts
from vocelio.engine.flow import FlowVersion
from vocelio.engine.prompts.static_prompts import Utterance, utterable
from vocelio.engine.voice import Voice
from vocelio.gateway.aio.cpu_executor import ASIDE
from vocelio.gateway.model.tenant import Tenant
from vocelio.gateway.prompts.keys import address, fingerprint
from vocelio.gateway.store.db.database import Database
from vocelio.gateway.store.flows import versions
from vocelio.gateway.store.prompts import render_queue
from vocelio.gateway.store.prompts.render_queue import Wanted
from vocelio.gateway.store.tenants import tenants

HELD = 100_000  # sentences of all plans in memory, with 300 bytes each

Aside = Callable[[Callable[[], list[Utterance]]], Awaitable[list[Utterance]]]


Renders = Callable[[Voice], Voice | None]
"""In which voice a flow's is rendered: itself, or the one that speaks in its place where its tier cannot be had for
good. None: there is nobody to render it at present. It is asked on the event loop, often, and must be quick."""


class Synthesise(Protocol):
    """One sentence, spoken."""

    async def __call__(self, sentence: str, voice: Voice) -> bytes:
        """Its sound, whole: mu-law, 8,000 bytes a second. Raises SpeechError."""
        ...


class Plan(NamedTuple):
    """``voices`` are those of the flow, each with the one that is rendered for it."""

    wanted: tuple[Wanted, ...]
    voices: Mapping[Voice, Voice | None]


class ActivePlan(NamedTuple):
    """The plan of the version that calls get."""

    version: int
    plan: Plan


class Plans:
    """The plans of all tenants."""

    def __init__(self, renders: Renders, held: int = HELD) -> None:
        self.renders = renders
        self._held: LRUCache[Any, Plan] = LRUCache(held, getsizeof=lambda plan: len(plan.wanted) + 1)

    async def of(self, tenant: Tenant, version: FlowVersion, aside: Aside = asyncio.to_thread) -> Plan:
        """The plan of a version; calls get it in a thread of their own."""
        held = self._remembered(tenant, version.id)
        if held is not None:
            return held
        spoken = await aside(lambda: utterable(version, _facts(tenant), [tenant.hold]))
        plan = self._made(spoken)
        if len(plan.wanted) < self._held.maxsize:
            self._held[_key(tenant, version.id)] = plan
        return plan

    async def active(self, database: Database, tenant: str, flow: str) -> ActivePlan | None:
        """The plan of a flow's active version; None when it was never promoted.

        Raises NotFound, UnusableVersion, TooMany, StoreUnavailable.
        """
        async with database.reading() as connection:
            found = await render_queue.active_of(connection, tenant, flow)
            if found is None:
                return None
            number, content = found
            whose, _ = await tenants.read(connection, tenant)
            plan = self._remembered(whose, content)
            version = None if plan else await versions.load(connection, tenant, flow, number)
        if version is not None:
            plan = await self.of(whose, version, ASIDE.run)
        return ActivePlan(number, plan) if plan else None

    def still(self, voices: Mapping[Voice, Voice | None]) -> bool:
        """Whether these are still rendered in the same voices."""
        return all(self.renders(voice) == rendered for voice, rendered in voices.items())

    def _remembered(self, tenant: Tenant, content: str) -> Plan | None:
        held = self._held.get(_key(tenant, content))
        return held if held is not None and self.still(held.voices) else None

    def _made(self, spoken: Iterable[Utterance]) -> Plan:
        spoken = list(spoken)
        voices = {voice: self.renders(voice) for voice in dict.fromkeys(one.voice for one in spoken)}
        heard = {voice: rendered or voice for voice, rendered in voices.items()}
        prints = {voice: fingerprint(other) for voice, other in heard.items()}
        wanted: dict[str, Wanted] = {}
        for sentence, voice in spoken:
            one = address(prints[voice], sentence)
            wanted.setdefault(one, Wanted(one, sentence, heard[voice]))
        return Plan(tuple(wanted.values()), voices)


def _facts(tenant: Tenant) -> TenantFacts:
    return TenantFacts(tenant.id, tenant.name, tenant.variables, tenant.time_zone, tenant.apology)


def _key(tenant: Tenant, content: str) -> Any:
    said = (tenant.name, frozenset(tenant.variables.items()), tenant.apology, tenant.hold)
    return tenant.id, content, said

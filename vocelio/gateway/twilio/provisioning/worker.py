"""The registrar: sets numbers at Twilio to what is wanted of them, in the background of every process that serves.

The database says what is to be done, and who is at it. A number that cannot be set is tried again for ever, ever more
seldom; nobody waits for it, and a process that ends gives back what it was at.
"""

import asyncio
import logging
import secrets

from vocelio.gateway.crypto.encryption import VaultError
from vocelio.gateway.errors import StoreUnavailable, TwilioError
from vocelio.gateway.store.provisioning import queue
from vocelio.gateway.store.provisioning.queue import Kept
from vocelio.gateway.twilio.provisioning.context import Desk
from vocelio.gateway.twilio.provisioning.reconcile import Outcome, PutBack, carry_out

LOG = logging.getLogger(__name__)

AT_ONCE = 8  # numbers: Twilio's API takes more, but calls come first
CARRY_SECONDS = 45.0  # of one number: two requests, each tried three times
LEASE_SECONDS = 60  # more than that, so that whoever is at it has ended before another begins
POLL_SECONDS = 5.0  # after which another process's wishes, and what failed, are seen
FIRST_PAUSE = 5  # seconds after the first failure; each further one doubles it
LONGEST_PAUSE = 1_800  # seconds: how long what was mended at Twilio may go unnoticed, if nobody says so

SECOND = 1_000_000  # microseconds
OUR_MISTAKE = "This is our mistake. The gateway's log says more."


class Registrar:
    """One process's worker."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._holder = secrets.token_hex(8)
        self._wanted = asyncio.Event()
        self._carrying: set[asyncio.Task[None]] = set()  # at most AT_ONCE
        self._working: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin. What no account was there for is looked at again: there may be one now."""
        self._working = asyncio.create_task(self._work(), name="registrar")

    def wake(self) -> None:
        """Something is wanted: look now, not at the next turn."""
        self._wanted.set()

    async def aclose(self) -> None:
        """End, and let others have what is under way."""
        tasks = [*self._carrying, *([self._working] if self._working else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await queue.give_back(self.desk.database, self._holder)
        except StoreUnavailable:
            LOG.info("what was under way is others' when its lease ends")
        await self.desk.rest.aclose()

    async def run_due(self) -> int:
        """Carry out what is due, all of it, and wait for that: how much it was."""
        done = 0
        while tasks := await self._take(AT_ONCE):
            await asyncio.gather(*map(self._carry, tasks))
            done += len(tasks)
        return done

    async def _work(self) -> None:
        await self._begin()
        while True:
            self._wanted.clear()
            if await self._begin_due():
                continue
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wanted.wait()
            except TimeoutError:
                continue

    async def _begin(self) -> None:
        if self.desk.credentials.platform.has_rest:
            try:
                await queue.look_again_at_unmanaged(self.desk.database, self.desk.wall())
            except StoreUnavailable:
                LOG.warning("numbers that had no Twilio account wait for the next start")

    async def _begin_due(self) -> bool:
        """Begin as many as there is room for; whether any was."""
        try:
            tasks = await self._take(AT_ONCE - len(self._carrying))
        except StoreUnavailable:
            return False
        except Exception:  # the database refuses the question itself: whatever that is, the next turn may be better
            LOG.exception("what is due at Twilio cannot be read")
            return False
        for task in tasks:
            carrying = asyncio.create_task(self._carry(task), name=f"registration of {task.number}")
            self._carrying.add(carrying)
            carrying.add_done_callback(self._ended)
        return bool(tasks)

    def _ended(self, carrying: asyncio.Task[None]) -> None:
        self._carrying.discard(carrying)
        self.wake()

    async def _take(self, room: int) -> list[Kept]:
        now = self.desk.wall()
        if not room:
            return []
        return await queue.take(self.desk.database, self._holder, now, now + LEASE_SECONDS * SECOND, room)

    async def _carry(self, task: Kept) -> None:
        """Raises nothing: what the database does not take is done again when the lease ends."""
        pause = 0.0
        outcome: Outcome | PutBack | None
        try:
            async with asyncio.timeout(CARRY_SECONDS):
                outcome = await carry_out(self.desk, task, self.desk.wall() + LEASE_SECONDS * SECOND)
        except TwilioError as error:
            outcome, pause = Outcome("failed", str(error)), error.seconds
        except VaultError as error:
            outcome = Outcome("failed", str(error))
        except TimeoutError:
            outcome = Outcome("failed", "Twilio's API takes too long.")
        except StoreUnavailable:
            return
        except Exception:
            LOG.exception("the registration of %s failed", task.number)
            outcome = Outcome("failed", OUR_MISTAKE)
        try:
            await self._conclude(task, outcome, pause)
        except StoreUnavailable:
            LOG.warning("what became of %s at Twilio is found out again", task.number)

    async def _conclude(self, task: Kept, outcome: Outcome | PutBack | None, pause: float) -> None:
        match outcome:
            case None:
                await queue.give_back_one(self.desk.database, task)
            case PutBack():
                if await queue.forget(self.desk.database, task):
                    self.desk.publish("number.restored", task.tenant, number=task.number)
            case Outcome(state="registered" | "not_managed"):
                await self._settled(task, outcome)
            case Outcome():
                await self._not_yet(task, outcome, pause)

    async def _settled(self, task: Kept, outcome: Outcome) -> None:
        now = self.desk.wall()
        told = await queue.finish(self.desk.database, task, outcome.state, now, problem=outcome.problem)
        if told and outcome.repaired:
            self.desk.publish("number.repaired", task.tenant, number=task.number)
        elif told and outcome.state == "registered":
            self.desk.publish("number.registered", task.tenant, number=task.number)

    async def _not_yet(self, task: Kept, outcome: Outcome, pause: float) -> None:
        """It is tried again; the same problem is told once."""
        now, attempts = self.desk.wall(), task.attempts + 1
        due = now + round(max(pause, backoff(attempts)) * SECOND)
        told = await queue.finish(
            self.desk.database, task, outcome.state, now, problem=outcome.problem, attempts=attempts, due=due
        )
        if told and (outcome.state, outcome.problem) != (task.state, task.problem):
            LOG.warning("%s (tenant %s): %s", task.number, task.tenant, outcome.problem)
            problem = outcome.problem
            self.desk.publish("number.registration_failed", task.tenant, number=task.number, problem=problem)


def backoff(attempts: int) -> int:
    """Seconds from a failure to the next try; ``attempts`` counts the failures."""
    return min(FIRST_PAUSE << min(attempts - 1, 20), LONGEST_PAUSE)

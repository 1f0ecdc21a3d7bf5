"""How one service (recognition or synthesis) of one provider does: a circuit breaker, and how fast it is.

``FAILURES`` in a row, or credentials that are refused, open the breaker: nobody's call waits for what will not come.
After a while, which doubles from failure to failure, a probe of the gateway's own tries the service; callers come
back when that went well. So no caller is ever the one on whom it is tried.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from typing import Literal, Protocol

import msgspec

from vocelio.engine.voice import Tier
from vocelio.gateway.speech.interfaces import CredentialsRefused, SpeechError, Unsuitable

LOG = logging.getLogger(__name__)

FAILURES = 3
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0  # seconds until a probe
LATENCIES = 200  # of the newest successes
PROBE_SECONDS = 10.0
START_SECONDS = 8.0  # that a provider's being far away may delay the start of the gateway; loading an SDK takes 1 or 2

Service = Literal["recognition", "synthesis"]
State = Literal["closed", "open", "half_open"]


class Report(msgspec.Struct, frozen=True):
    """What is known of a service. ``closed`` is in order, ``open`` is not asked, ``half_open`` is being tried.

    ``p50_ms`` and ``p95_ms`` are from the request to the first sound, or from an utterance's end to its text.
    ``last_error`` is safe to show; ``last_error_seconds`` ago it was.
    """

    provider: Tier
    service: Service
    state: State
    successes: int
    failures: int
    p50_ms: int | None = None
    p95_ms: int | None = None
    last_error: str = ""
    last_error_seconds: int | None = None


class Late(SpeechError):
    """A provider did not come with what it should in time: that it is away is likely, and true of all that it does."""


class Startable(Protocol):
    """A provider's recogniser or synthesizer."""

    async def start(self) -> None:
        """Get ready. Raises SpeechError."""


class Health:
    """One service's. ``probe`` tries it, and raises SpeechError; it runs when the breaker has been open for a while."""

    def __init__(self, provider: Tier, service: Service, probe: Callable[[], Awaitable[None]]) -> None:
        self.provider: Tier = provider
        self.service: Service = service
        self._probe = probe
        self._state: State = "closed"
        self._in_a_row = self._successes = self._failures = 0
        self._good = 0  # successes since the last failure
        self._pause = FIRST_PAUSE
        self._latencies: deque[float] = deque(maxlen=LATENCIES)
        self._error: tuple[float, str] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._probing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def usable(self) -> bool:
        """Whether calls should use it now, if they can use another."""
        return self._state == "closed"

    def succeeded(self, seconds: float | None = None) -> None:
        """A request went well, and took so long."""
        self._successes += 1
        self._in_a_row = 0
        self._good += 1
        if self._good >= FAILURES:
            self._pause = FIRST_PAUSE
        if seconds is not None:
            self._latencies.append(seconds)

    def failed(self, error: SpeechError, *, surely: bool = False) -> None:
        """A request did not. One that was none for this provider says nothing about its health.

        ``surely``: one is enough to know that others would not either.
        """
        if isinstance(error, Unsuitable):
            return
        now = asyncio.get_running_loop().time()
        self._failures += 1
        self._in_a_row += 1
        self._good = 0
        self._error = (now, str(error))
        surely = surely or self._in_a_row >= FAILURES or isinstance(error, CredentialsRefused)
        if self._state == "closed" and surely:
            LOG.warning("%s of %s is not used for now: %s", self.service, self.provider, error)
            self._open()

    def report(self) -> Report:
        """What is known."""
        ordered = sorted(self._latencies)
        at, problem = self._error or (0.0, "")
        return Report(
            self.provider,
            self.service,
            self._state,
            self._successes,
            self._failures,
            _milliseconds(ordered, 0.5),
            _milliseconds(ordered, 0.95),
            problem,
            round(asyncio.get_running_loop().time() - at) if self._error else None,
        )

    async def aclose(self) -> None:
        """No more probes."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        if self._probing:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)

    def _open(self) -> None:
        """It stays so for longer from time to time, until it has been well for a while."""
        self._state = "open"
        if not self._closed:
            loop = asyncio.get_running_loop()  # the probe is nobody's: what it logs is not the call's that failed
            self._timer = loop.call_later(self._pause, self._begin_probe, context=Context())
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _begin_probe(self) -> None:
        self._state = "half_open"
        self._probing = asyncio.get_running_loop().create_task(self._try(), name=f"probe of {self.provider}")

    async def _try(self) -> None:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._probe()
        except Unsuitable:
            self._well()  # it answers: that it does not like this request is another matter
        except (SpeechError, TimeoutError) as error:
            self._again(str(error) or f"nothing came for {PROBE_SECONDS:g} s")
        except Exception:  # a provider's defect
            LOG.exception("the probe of %s of %s failed", self.service, self.provider)
            self._again("the probe failed; the log says how")
        else:
            self._well()

    def _well(self) -> None:
        LOG.info("%s of %s is used again", self.service, self.provider)
        self._in_a_row = 0
        self._state = "closed"

    def _again(self, problem: str) -> None:
        self._error = (asyncio.get_running_loop().time(), problem)
        self._open()


async def start_all(services: Mapping[Tier, tuple[Startable, Health]]) -> None:
    """Get every provider ready, all at once. One that cannot is in trouble from the beginning; the gateway starts.

    Raises SpeechError when local speech is all there is, and cannot be had.
    """
    errors = await asyncio.gather(*(_start(*service) for service in services.values()))
    if tuple(services) == ("local",) and errors[0]:
        raise errors[0]


async def _start(service: Startable, health: Health) -> SpeechError | None:
    try:
        async with asyncio.timeout(START_SECONDS):
            await service.start()
    except SpeechError as error:
        problem = error
    except TimeoutError:
        problem = SpeechError(f"{health.provider} was not ready within {START_SECONDS:g} s")
    except Exception:  # a provider's defect, or what its SDK makes of the environment: others can do without it
        LOG.exception("%s of %s could not be started", health.service, health.provider)
        problem = SpeechError(f"{health.provider} could not be started; the log says how")
    else:
        return None
    health.failed(problem, surely=True)
    return problem


def _milliseconds(ordered: list[float], part: float) -> int | None:
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1000) if ordered else None

"""Executes the actions of a flow session: on the stream's media, with timers, and by HTTP requests.

Only actions that may be executed get here: side effects after their commit, see session/commit_gate.py.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import assert_never

import msgspec

from vocelio.engine import actions, events
from vocelio.gateway.calls.interfaces import CallServices
from vocelio.gateway.calls.media.call_media import MASK, CallContext, CallMedia
from vocelio.gateway.calls.session.commit_gate import CommitGate
from vocelio.gateway.calls.session.http_requests import FlowHttpRequests
from vocelio.gateway.http_client.client import HttpResult, masked_url

FAILURE_DELAY_SECONDS = 1.0  # from an action that cannot be executed to its failure, so that no flow loops without end

FailureEvent = events.QueueEnded | events.RequestEnded | events.TransferEnded


class ActionExecutor:
    """Executor of one session. ``leave`` gets the actions by which the call leaves its stream."""

    def __init__(
        self,
        context: CallContext,
        media: CallMedia,
        commit_gate: CommitGate,
        services: CallServices,
        tenant: str,
        leave: Callable[[actions.Transfer | actions.HangUp], None],
    ) -> None:
        self._context, self._media, self._commit_gate, self._leave = context, media, commit_gate, leave
        self._loop = asyncio.get_running_loop()
        self._http_requests = FlowHttpRequests(services.http_client, services.directory, tenant, self._on_http_result)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed = False

    def execute(self, action: actions.AnyAction) -> None:
        """Execute one action; its result comes later, as an event."""
        match action:
            case actions.Speak():
                self._media.speak(action)
            case actions.StopSpeaking():
                self._stop_speaking(action.id)
            case actions.Listen():
                self._media.listen(action)
            case actions.StopListening():
                self._media.stop_listening()
            case actions.StartTimer():
                self._timers[action.id] = self._loop.call_later(action.seconds, self._on_timer, action.id)
            case actions.CancelTimer():
                if timer := self._timers.pop(action.id, None):
                    timer.cancel()
            case actions.Echo():
                self._media.set_echo(action.enabled)
            case actions.EmitEvent():
                self._context.publish(action.type, **action.data)
            case actions.Transfer() | actions.HangUp():
                self._leave(action)
            case actions.Request():
                self._http_requests.send(action)
            case actions.Record():
                self._media.recorder.record_message(action)
            case actions.StopRecording():
                self._stop_recording(action.id)
            case actions.Queue():
                self._fail_later(events.QueueEnded(0.0, action.id, "failed"))
            case _:
                assert_never(action)

    def execute_without_store(self, side_effects: Sequence[actions.AnyAction]) -> None:
        """Execute what may happen twice; requests and transfers, which must not, fail after a while."""
        for action in side_effects:
            match action:
                case actions.Request():
                    self._fail_later(events.RequestEnded(0.0, action.id, "error"))
                case actions.Transfer():
                    self._fail_later(events.TransferEnded(0.0, action.id, "failed"))
                case _ if not self._closed:
                    self.execute(action)
                case _:
                    pass

    def close(self) -> None:
        """Cancel timers and requests."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._http_requests.close()

    async def wait_closed(self) -> None:
        """Wait until the requests have ended."""
        await self._http_requests.wait_closed()

    def _stop_speaking(self, prompt: str) -> None:
        if self._commit_gate.cancel(prompt):  # it has not started, and never does
            self._context.feed_event(events.PromptInterrupted(self._context.elapsed(), prompt))
        else:
            self._media.stop_speaking(prompt)

    def _stop_recording(self, recording: str) -> None:
        if self._commit_gate.cancel(recording):
            self._context.feed_event(events.RecordingEnded(self._context.elapsed(), recording, 0.0))
        else:
            self._media.recorder.stop_message()

    def _fail_later(self, event: FailureEvent) -> None:
        self._timers[event.id] = self._loop.call_later(FAILURE_DELAY_SECONDS, self._deliver_failure, event)

    def _deliver_failure(self, event: FailureEvent) -> None:
        del self._timers[event.id]
        self._context.feed_event(msgspec.structs.replace(event, at=self._context.elapsed()))

    def _on_timer(self, timer: str) -> None:
        del self._timers[timer]
        self._context.feed_event(events.TimerFired(self._context.elapsed(), timer))

    def _on_http_result(self, request: actions.Request, result: HttpResult) -> None:
        self._context.publish(
            "http_request.completed",
            node=self._context.node,
            url=MASK if request.sensitive else masked_url(request.url),
            result=result.outcome,
            status=result.status,
            error=result.error,
        )
        at = self._context.elapsed()
        self._context.feed_event(events.RequestEnded(at, request.id, result.outcome, result.status, result.body))

"""The registry of live calls: the sessions of this process, whose streams are open here."""

from vocelio.gateway.calls.admission import AdmissionControl
from vocelio.gateway.calls.call_record import CallRecord
from vocelio.gateway.calls.interfaces import Transport
from vocelio.gateway.calls.session.call_session import CallSession, SessionDependencies


class CallRegistry:
    """Opens, finds and supersedes call sessions. ``live_calls`` are by call SID; a session that closes is removed.

    ``draining`` is set when the process is about to exit, ``refuses_new_calls`` when no other process takes them.
    """

    def __init__(
        self, dependencies: SessionDependencies, admission: AdmissionControl, live_calls: dict[str, CallSession]
    ) -> None:
        self._dependencies, self._lifecycle = dependencies, dependencies.lifecycle
        self._admission, self.live_calls = admission, live_calls
        self.draining = self.refuses_new_calls = False

    @property
    def is_full(self) -> bool:
        """Whether this process accepts no new calls; streams of calls in progress are always accepted."""
        return self.refuses_new_calls or self._admission.is_full(len(self.live_calls))

    async def accept_stream(self, token: str, account: str, call: str) -> CallRecord | None:
        """Return the call that the token admits to, now owned by its stream; None when it admits to none.

        Raises DatabaseUnavailable.
        """
        earlier = self.live_calls.get(call)
        if earlier and earlier.account != account:  # call SIDs are unique: this one is made up
            return None
        stored = await self._lifecycle.take_over(token, account, call)
        if stored is None:
            return None
        if earlier := self.live_calls.pop(call, None):
            earlier.on_superseded()
        return await self._lifecycle.load_for_stream(stored)

    def open_session(self, record: CallRecord, stream_sid: str, transport: Transport) -> CallSession:
        """Make the session of a stream that was accepted. It must be started at once."""
        session = CallSession(self._dependencies, record, stream_sid, transport, self._remove)
        self.live_calls[record.stored.id] = session
        return session

    def _remove(self, session: CallSession) -> None:
        if self.live_calls.get(session.call) is session:
            del self.live_calls[session.call]

    def on_stream_lost(self, record: CallRecord) -> None:
        """Save a call whose stream was accepted and then lost before its session started."""
        self._lifecycle.on_stream_lost(record)

    async def on_call_completed(self, account: str, call: str) -> None:
        """Twilio reports that the call is over: end its session, if it is here."""
        session = self.live_calls.get(call)
        if session and session.account == account:
            session.on_hangup()
        await self._lifecycle.on_call_completed(account, call)

"""One registration, carried out: from what is wanted and what Twilio has to what has become of it.

Everything is looked at first, then kept, then set by one request. So whoever dies in between leaves the number as it
was or as it is to be, and what was there before is never forgotten; whoever does it again finds it so.
"""

import msgspec

from vocelio.gateway.store.provisioning import queue
from vocelio.gateway.store.provisioning.queue import Kept, State, Webhooks
from vocelio.gateway.twilio.provisioning.context import NO_REST, Desk
from vocelio.gateway.twilio.rest_client import AccountNumber


class Outcome(msgspec.Struct, frozen=True):
    """What has become of it; ``repaired`` is whether it was ours before and had been changed by somebody else."""

    state: State
    problem: str = ""
    repaired: bool = False


class PutBack(msgspec.Struct, frozen=True):
    """It is as it was before us."""


async def carry_out(desk: Desk, task: Kept, until: int) -> Outcome | PutBack | None:
    """Do it, with the lease prolonged until then; None when it is not ours to do any more. Raises TwilioError.

    Also raises StoreUnavailable and VaultError.
    """
    return await (_register if task.wanted else _put_back)(desk, task, until)


async def _register(desk: Desk, task: Kept, until: int) -> Outcome | None:
    credential = await desk.credentials.of(task.tenant)
    if not credential.has_rest:
        return Outcome("not_managed", NO_REST)
    account = desk.account(credential)
    found = await account.find(task.number)
    if found is None:
        return Outcome("failed", missing(task.number, account.sid))
    if found.override:
        return Outcome("overridden", overridden(found))
    known = task.former is not None and task.account == account.sid
    former = task.former if task.former is not None and known else found.webhooks
    if not await queue.note(desk.database, task, account.sid, former, desk.webhooks, until):
        return None
    if found.webhooks == desk.webhooks:
        return Outcome("registered")
    set_to = (await account.configure(found.sid, desk.webhooks)).webhooks
    if set_to != desk.webhooks:
        return Outcome("failed", f"Twilio has set {task.number} to something else than was asked.")
    return Outcome("registered", repaired=known and task.since is not None)


async def _put_back(desk: Desk, task: Kept, until: int) -> Outcome | PutBack | None:
    """What somebody else has set meanwhile is theirs, and stays; a number that has left the account is nobody's."""
    if task.former is None or task.made is None:
        return PutBack()
    credential = await desk.credentials.named(task.tenant, task.account)
    if credential is None:
        problem = f"{task.account} is no account of this gateway any more, so {task.number} cannot be set back there."
        return Outcome("failed", problem)
    account = desk.account(credential)
    found = await account.find(task.number)
    if found is None or found.webhooks.voice_url != task.made.voice_url:
        return PutBack()
    if not await queue.note(desk.database, task, account.sid, task.former, task.made, until):
        return None
    await account.configure(found.sid, task.former)
    return PutBack()


def missing(number: str, account: str) -> str:
    """What to tell of a number that is not there."""
    return (
        f"{number} is not in the Twilio account {account}. "
        "Buy it there or move it there, or name the account that has it."
    )


def overridden(found: AccountNumber) -> str:
    """What to tell of a number whose webhooks are not looked at."""
    kind = "the SIP trunk" if found.trunk else "the TwiML application"
    return (
        f"At Twilio {kind} {found.override} answers {found.number} in place of its webhooks. "
        "Take it off the number in Twilio's console, and try again."
    )


def shown(webhooks: Webhooks) -> Webhooks:
    """As they may be seen: a password within a URL is not."""
    fields = msgspec.structs.asdict(webhooks)
    return Webhooks(**{name: _without_password(value) for name, value in fields.items()})


def _without_password(url: str) -> str:
    scheme, mark, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    user, at, host = place.rpartition("@")
    name, colon, _ = user.partition(":")
    return f"{scheme}{mark}{name}{colon}{'***' if colon else ''}{at}{host}{slash}{path}" if at else url

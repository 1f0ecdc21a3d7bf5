"""How far the rendering of a promoted flow is, on the terminal: a bar that moves, and what came of it."""

import time
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from vocelio.gateway.cli import common
from vocelio.gateway.cli.api_client import Api, ApiError

POLL_SECONDS = 0.5
LONGEST = 300.0  # seconds: a flow of 300 sentences; calls do not wait for it, so why should we
STALLED = 30.0  # seconds without anything new: nobody renders, or nobody can
NONE_HERE = (404, 409)  # a server of an earlier release; one that renders nothing
SHOWN = 3  # problems: most have the same reason


def follow(api: Api, flow: str, longest: float = LONGEST, stalled: float = STALLED) -> None:
    """Wait until the flow's prompts are rendered, or will not be soon, and say so. Nothing of that is an error."""
    try:
        told = _watched(api, flow, longest, stalled)
    except ApiError as error:
        common.out.print(f"how far its prompts are rendered is not known: {error}", markup=False, soft_wrap=True)
        return
    if told is not None:
        _summarise(told)


def _watched(api: Api, flow: str, longest: float, stalled: float) -> dict[str, Any] | None:
    columns = (TextColumn("prompts"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=common.out, transient=True, disable=not common.out.is_terminal) as bar:
        task = bar.add_task("prompts", left="")
        began = changed = time.monotonic()
        seen = -1
        while True:
            told = _ask(api, flow)
            if told is None or told["pending"] == 0:
                return told
            done = told["ready"] + told["failed"]
            bar.update(task, total=told["total"], completed=done, left=_left(told["seconds_left"]))
            now = time.monotonic()
            changed, seen = (now, done) if done != seen else (changed, seen)
            if now - began > longest or now - changed > stalled:
                return told
            time.sleep(POLL_SECONDS)


def _ask(api: Api, flow: str) -> dict[str, Any] | None:
    answer = api.ask("GET", f"/v1/flows/{flow}/prompts", accept=NONE_HERE)
    told: dict[str, Any] | None = None if answer.status in NONE_HERE else answer.json()
    return told


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"about {max(1, round(seconds))} s left"


def _summarise(told: dict[str, Any]) -> None:
    if told["ready"] == told["total"]:
        common.out.print(f"its {told['total']} prompts are rendered")
        return
    common.out.print(
        f"{told['ready']} of its {told['total']} prompts are rendered, the others are spoken until they are"
    )
    for problem in told["problems"][:SHOWN]:
        line = f"warning: {problem['sentence']!r}: {problem['problem']}"
        common.out.print(line, markup=False, soft_wrap=True)
    if told["failed"] > SHOWN:
        common.out.print(f"warning: {told['failed'] - SHOWN} more failed; all are tried again")

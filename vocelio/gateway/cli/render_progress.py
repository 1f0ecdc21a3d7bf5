"""How far the rendering of a promoted flow is, on the terminal: a bar that moves, and what came of it."""

import time
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from vocelio.gateway.cli import common
from vocelio.gateway.cli.api_client import ApiClient, ApiClientError

POLL_INTERVAL_SECONDS = 0.5
MAX_WAIT_SECONDS = 300.0  # seconds: a flow of 300 sentences; calls do not wait for it, so why should we
STALL_TIMEOUT_SECONDS = 30.0  # seconds without anything new: nobody renders, or nobody can
NO_PROGRESS_STATUSES = (404, 409)  # a server of an earlier release; one that renders nothing
MAX_PROBLEMS_SHOWN = 3  # problems: most have the same reason


def show_progress(
    api: ApiClient,
    flow: str,
    max_wait_seconds: float = MAX_WAIT_SECONDS,
    stall_timeout_seconds: float = STALL_TIMEOUT_SECONDS,
) -> None:
    """Wait until the flow's prompts are rendered, or will not be soon, and say so. Nothing of that is an error."""
    try:
        told = _poll_progress(api, flow, max_wait_seconds, stall_timeout_seconds)
    except ApiClientError as error:
        common.stdout.print(f"how far its prompts are rendered is not known: {error}", markup=False, soft_wrap=True)
        return
    if told is not None:
        _print_summary(told)


def _poll_progress(
    api: ApiClient, flow: str, max_wait_seconds: float, stall_timeout_seconds: float
) -> dict[str, Any] | None:
    columns = (TextColumn("prompts"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=common.stdout, transient=True, disable=not common.stdout.is_terminal) as bar:
        task = bar.add_task("prompts", left="")
        began = changed = time.monotonic()
        seen = -1
        while True:
            told = _get_progress(api, flow)
            if told is None or told["pending"] == 0:
                return told
            done = told["ready"] + told["failed"]
            bar.update(task, total=told["total"], completed=done, left=_format_time_left(told["remaining_seconds"]))
            now = time.monotonic()
            changed, seen = (now, done) if done != seen else (changed, seen)
            if now - began > max_wait_seconds or now - changed > stall_timeout_seconds:
                return told
            time.sleep(POLL_INTERVAL_SECONDS)


def _get_progress(api: ApiClient, flow: str) -> dict[str, Any] | None:
    answer = api.request("GET", f"/v1/flows/{flow}/prompts", allowed_statuses=NO_PROGRESS_STATUSES)
    told: dict[str, Any] | None = None if answer.status in NO_PROGRESS_STATUSES else answer.json()
    return told


def _format_time_left(seconds: float | None) -> str:
    return "" if seconds is None else f"about {max(1, round(seconds))} s left"


def _print_summary(progress: dict[str, Any]) -> None:
    if progress["ready"] == progress["total"]:
        common.stdout.print(f"its {progress['total']} prompts are rendered")
        return
    common.stdout.print(
        f"{progress['ready']} of its {progress['total']} prompts are rendered, the others are spoken until they are"
    )
    for failure in progress["failures"][:MAX_PROBLEMS_SHOWN]:
        line = f"warning: {failure['sentence']!r}: {failure['error']}"
        common.stdout.print(line, markup=False, soft_wrap=True)
    if progress["failed"] > MAX_PROBLEMS_SHOWN:
        common.stdout.print(f"warning: {progress['failed'] - MAX_PROBLEMS_SHOWN} more failed; all are tried again")

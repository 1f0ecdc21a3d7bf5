"""A call's events as a conversation on the terminal."""

from rich.console import Console
from rich.markup import escape

from vocelio.gateway.events import Event


class CallPrinter:
    """Prints a call as it happens, and remembers what the demo's last line says."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._started_at = 0
        self.transcripts: list[str] = []
        self.ended_event: Event | None = None

    def print_event(self, event: Event) -> None:
        """The next event of the call."""
        self._started_at = self._started_at or event.occurred_at
        data = event.data
        match event.type:
            case "call.started":
                self._print_line(event, "dim", "call", f"{data['caller']} calls {data['number']}, flow {data['flow']}")
            case "prompt.started":
                self._print_line(event, "cyan", "gateway", data["text"])
            case "prompt.interrupted":
                self._print_line(event, "dim", "", f"(interrupted after {data['played_seconds']:.1f} s)")
            case "transcript.final":
                self.transcripts.append(data["text"])
                understood = data["text"] or "(not understood)"
                self._print_line(event, "green", "caller", f"{understood}  [dim]{data['confidence']:.0%} sure[/dim]")
            case "dtmf.received":
                self._print_line(event, "green", "caller", "(presses a key)")
            case "transfer.started":
                self._print_line(event, "yellow", "transfer", f"to {data['department'] or data['number']}")
            case "transfer.ended":
                self._print_line(event, "yellow", "transfer", data["result"].replace("_", " "))
            case "call.ended":
                self.ended_event = event
                self._print_line(event, "dim", "call", f"ended: {data['outcome']}")
            case "prompt.failed" | "recognition.failed" | "flow.problem":
                self._print_line(event, "red", "problem", data["error"])
            case _:
                pass

    def _print_line(self, event: Event, style: str, speaker: str, message: str) -> None:
        if self._console:
            at = (event.occurred_at - self._started_at) / 1e6
            text = message if "[dim]" in message else escape(message)
            self._console.print(f"[dim]{at:6.1f} s[/dim]  [{style}]{speaker:>9}[/{style}]  {text}")

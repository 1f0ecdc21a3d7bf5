"""A call's events as a conversation on the terminal."""

from rich.console import Console
from rich.markup import escape

from vocelio.gateway.events import Event


class Conversation:
    """Prints a call as it happens, and remembers what the demo's last line says."""

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._started = 0
        self.heard: list[str] = []
        self.ended: Event | None = None

    def show(self, event: Event) -> None:
        """The next event of the call."""
        self._started = self._started or event.at
        data = event.data
        match event.type:
            case "call.started":
                self._print(event, "dim", "call", f"{data['caller']} calls {data['number']}, flow {data['flow']}")
            case "prompt.started":
                self._print(event, "cyan", "gateway", data["text"])
            case "caller.interrupted":
                self._print(event, "dim", "", f"(interrupted after {data['heard_seconds']:.1f} s)")
            case "caller.heard":
                self.heard.append(data["text"])
                understood = data["text"] or "(not understood)"
                self._print(event, "green", "caller", f"{understood}  [dim]{data['confidence']:.0%} sure[/dim]")
            case "key.pressed":
                self._print(event, "green", "caller", "(presses a key)")
            case "transfer.started":
                self._print(event, "yellow", "transfer", f"to {data['department'] or data['number']}")
            case "transfer.ended":
                self._print(event, "yellow", "transfer", data["how"].replace("_", " "))
            case "call.ended":
                self.ended = event
                self._print(event, "dim", "call", f"ended: {data['outcome']}")
            case "prompt.failed" | "listening.failed" | "flow.problem":
                self._print(event, "red", "problem", data["problem"])
            case _:
                pass

    def _print(self, event: Event, style: str, who: str, what: str) -> None:
        if self._console:
            at = (event.at - self._started) / 1e6
            text = what if "[dim]" in what else escape(what)
            self._console.print(f"[dim]{at:6.1f} s[/dim]  [{style}]{who:>9}[/{style}]  {text}")

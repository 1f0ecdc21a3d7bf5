"""One of the processes of ``vocelio serve --workers N``, as its supervisor starts it; nothing for people.

python -m vocelio.gateway.cli.worker CHANNEL HOST PORT DRAIN_SECONDS
"""

import asyncio
import sys
from collections.abc import Sequence

from vocelio.gateway import logs
from vocelio.gateway.cli import common
from vocelio.gateway.cli.serve import run
from vocelio.gateway.server.server import loop_factory
from vocelio.gateway.server.supervisor import Parent


def main(arguments: Sequence[str]) -> None:
    """Serve until the supervisor says otherwise, or is gone."""
    channel, host, port, drain_seconds = arguments
    logs.begin()
    with common.explained(), asyncio.Runner(loop_factory=loop_factory()) as runner:
        parent = Parent(int(channel))
        runner.run(run(common.settings(), None, host, int(port), float(drain_seconds), parent=parent))


if __name__ == "__main__":
    main(sys.argv[1:])

"""One of the processes of ``vocelio serve --workers N``, as its supervisor starts it; nothing for people.

python -m vocelio.gateway.cli.worker CHANNEL HOST PORT DRAIN_SECONDS
"""

import asyncio
import sys
from collections.abc import Sequence

from vocelio.gateway import logs
from vocelio.gateway.cli import common
from vocelio.gateway.cli.serve import serve_until_signal
from vocelio.gateway.server.server import loop_factory
from vocelio.gateway.server.supervisor import SupervisorChannel


def main(arguments: Sequence[str]) -> None:
    """Serve until the supervisor says otherwise, or is gone."""
    channel, host, port, drain_seconds = arguments
    logs.configure()
    with common.exit_on_error(), asyncio.Runner(loop_factory=loop_factory()) as runner:
        parent = SupervisorChannel(int(channel))
        runner.run(
            serve_until_signal(
                common.read_settings(), None, host, int(port), float(drain_seconds), supervisor_channel=parent
            )
        )


if __name__ == "__main__":
    main(sys.argv[1:])

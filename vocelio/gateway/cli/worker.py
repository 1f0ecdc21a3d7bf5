"""Worker process of ``vocelio serve --workers N``, started by the supervisor. Not a user command.

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
    """Serve until the supervisor stops this process or exits itself."""
    channel, host, port, drain_seconds = arguments
    logs.configure()
    with common.exit_on_error(), asyncio.Runner(loop_factory=loop_factory()) as runner:
        settings, supervisor_channel = common.read_settings(), SupervisorChannel(int(channel))
        runner.run(
            serve_until_signal(
                settings, None, host, int(port), float(drain_seconds), supervisor_channel=supervisor_channel
            )
        )


if __name__ == "__main__":
    main(sys.argv[1:])

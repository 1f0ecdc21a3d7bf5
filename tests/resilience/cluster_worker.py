"""Worker process of a supervisor, whose flows may send requests to loopback addresses; see cluster_process.

python -m tests.resilience.cluster_worker CHANNEL HOST PORT DRAIN_SECONDS
"""

import asyncio
import logging
import os
import sys

from vocelio.gateway import config
from vocelio.gateway.cli.serve import serve_until_signal
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.server.server import loop_factory
from vocelio.gateway.server.supervisor import SupervisorChannel

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    channel, host, port, drain_seconds = sys.argv[1:]
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        settings, parent, fetcher = (
            config.load_settings(os.environ),
            SupervisorChannel(int(channel)),
            HttpClient(lambda address: True),
        )
        runner.run(
            serve_until_signal(
                settings, None, host, int(port), float(drain_seconds), http_client=fetcher, supervisor_channel=parent
            )
        )

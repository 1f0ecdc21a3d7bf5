"""Worker process of a supervisor, whose flows may send requests to loopback addresses; see cluster_process.

python -m tests.resilience.cluster_worker CHANNEL LISTENER TASK HANDOFF_SECONDS ALONE_SECONDS
"""

import asyncio
import logging
import os
import sys

from vocelio.gateway import config
from vocelio.gateway.cli.worker import WorkerArguments, serve_until_signal
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.server.server import loop_factory

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    arguments, http_client = WorkerArguments.parse(sys.argv[1:]), HttpClient(lambda address: True)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve_until_signal(config.load_settings(os.environ), arguments, http_client=http_client))

"""One of several processes under one parent, whose flows may ask servers on this machine; see tests/faults/server.py.

python -m tests.faults.worker CHANNEL HOST PORT DRAIN_SECONDS
"""

import asyncio
import logging
import os
import sys

from vocelio.gateway import config
from vocelio.gateway.cli.serve import run
from vocelio.gateway.http_client.client import Fetcher
from vocelio.gateway.server.server import loop_factory
from vocelio.gateway.server.supervisor import Parent

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    channel, host, port, drain_seconds = sys.argv[1:]
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        settings, parent, fetcher = config.read(os.environ), Parent(int(channel)), Fetcher(lambda address: True)
        runner.run(run(settings, None, host, int(port), float(drain_seconds), fetcher=fetcher, parent=parent))

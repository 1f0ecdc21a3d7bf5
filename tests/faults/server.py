"""One process of a cluster: `vocelio serve` as it is, but that its flows may ask servers on this machine.

python -m tests.faults.server PORT DRAIN_SECONDS [--forgetful | --workers N]

``--forgetful`` is the control: a gateway that cannot go on with a call whose stream it has lost. ``--workers`` makes it
the parent of so many.
"""

import asyncio
import logging
import os
import sys

from vocelio.gateway import config
from vocelio.gateway.cli.serve import run, supervise
from vocelio.gateway.http_client.client import Fetcher
from vocelio.gateway.server.server import loop_factory
from vocelio.gateway.store.calls.write_behind import DatabaseJournal


class Forgetful(DatabaseJournal):
    """Knows no call that has had a stream."""

    async def find(self, call, account):
        found = await super().find(call, account)
        return None if found is None or found.generation else found


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    port, drain_seconds = int(sys.argv[1]), float(sys.argv[2])
    if "--workers" in sys.argv:
        workers, settings = int(sys.argv[4]), config.read(os.environ)
        sys.exit(supervise(settings, None, "127.0.0.1", port, drain_seconds, workers, "tests.faults.worker"))
    journal = Forgetful if "--forgetful" in sys.argv else DatabaseJournal
    fetcher = Fetcher(lambda address: True)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        serving = run(
            config.read(os.environ),
            None,
            "127.0.0.1",
            port,
            drain_seconds,
            fetcher=fetcher,
            journal=journal,
        )
        runner.run(serving)

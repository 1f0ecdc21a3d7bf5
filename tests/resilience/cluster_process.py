"""One process of a cluster: `vocelio serve`, except that its flows may send requests to loopback addresses.

python -m tests.resilience.cluster_process PORT DRAIN_SECONDS [--forgetful | --workers N]

``--forgetful`` is the control experiment: a gateway that cannot resume a call after a stream loss. ``--workers`` runs a
supervisor with N workers; DRAIN_SECONDS may be ``default``.
"""

import asyncio
import logging
import os
import sys

from vocelio.gateway import config
from vocelio.gateway.cli.serve import run_supervisor
from vocelio.gateway.cli.worker import WorkerArguments, serve_until_signal
from vocelio.gateway.http_client.client import HttpClient
from vocelio.gateway.server.server import loop_factory
from vocelio.gateway.server.sockets import bind_socket
from vocelio.gateway.store.calls.write_behind import WriteBehindCallStore


class ForgetfulCallStore(WriteBehindCallStore):
    """Never finds a call that has had a stream."""

    async def find(self, call, account_sid):
        stored = await super().find(call, account_sid)
        return None if stored is None or stored.generation else stored


def main(port, drain_seconds, *options):
    """Serve until a signal arrives."""
    settings = config.load_settings(os.environ)
    if "--workers" in options:
        workers = int(options[1])
        sys.exit(
            run_supervisor(settings, None, "127.0.0.1", port, drain_seconds, workers, "tests.resilience.cluster_worker")
        )
    arguments = WorkerArguments(None, bind_socket(port=port), "none", drain_seconds, drain_seconds)
    serving = serve_until_signal(
        settings,
        arguments,
        http_client=HttpClient(lambda address: True),
        call_store_factory=ForgetfulCallStore if "--forgetful" in options else WriteBehindCallStore,
    )
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serving)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    main(int(sys.argv[1]), None if sys.argv[2] == "default" else float(sys.argv[2]), *sys.argv[3:])

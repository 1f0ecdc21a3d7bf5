"""`vocelio serve` in one process, as it is: what it leaves behind when it is told to go."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

VOCELIO = Path(sys.executable).parent / "vocelio"


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_leave_it_closes_the_database(tmp_path, told):
    """SQLite keeps its log beside the file until the last connection is closed."""
    ours = ("VOCELIO_", "TWILIO_", "PORT", "AZURE_", "ELEVENLABS_")
    settings = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    process = await asyncio.create_subprocess_exec(
        *(str(VOCELIO), "serve", "--port", "0"),
        cwd=tmp_path,
        env=settings | {"PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    log = tmp_path / ".vocelio" / "vocelio.db-wal"
    try:
        async with asyncio.timeout(60):
            assert b"listening" in await process.stdout.readline()
            while not log.exists():  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.02)
        process.send_signal(told)
        _, said = await asyncio.wait_for(process.communicate(), 10)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert not log.exists()
    assert b"Traceback" not in said

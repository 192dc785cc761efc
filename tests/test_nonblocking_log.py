"""Logs whose file takes nothing: the process goes on, and ends."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = """
import logging, os
from jobpool.host.nonblocking_log import log_in_thread
with log_in_thread():
    for number in range(2000):
        logging.getLogger("jobpool.test").info("line %d of many, %s", number, "x" * 100)
    print("went on", flush=True)
os._exit(0)  # as server and agent end
"""


def test_a_file_that_takes_nothing_stops_nobody() -> None:
    reading, writing = os.pipe()  # which nobody reads: it is full after 64 KiB, and writing waits for ever
    try:
        with subprocess.Popen(
            [sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=writing, text=True
        ) as process:
            assert process.communicate(timeout=60)[0] == "went on\n"
            assert process.returncode == 0
        assert os.read(reading, 1000).split(b"\n")[0].endswith(b"INFO jobpool.test line 0 of many, " + b"x" * 100)
    finally:
        os.close(reading)
        os.close(writing)


def test_the_last_words_are_written() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60)
    lines = done.stderr.splitlines()
    assert len(lines) == 2000
    assert "line 1999 of many" in lines[-1]

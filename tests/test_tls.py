"""A pool's keys."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from jobpool.host.home import PoolDirectory
from jobpool.transport import tls


@pytest.mark.skipif(shutil.which("openssl") is None, reason="NOT TESTED: certificates at other times; needs openssl")
@pytest.mark.parametrize("year", [1971, 2000, 2040, 2200])
def test_keys_hold_on_a_node_whose_clock_is_anywhere(year: int) -> None:
    directory = PoolDirectory.create("mine").path
    tls.make_keys(PoolDirectory(directory))
    seconds = (year - 1970) * 365 * 86400
    command = ["openssl", "verify", "-attime", str(seconds), "-CAfile", "ca.pem", "cert.pem"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "cert.pem: OK\n"), done.stderr

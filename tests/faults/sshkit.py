"""A real sshd on the loopback address, for the user who runs the tests: the host ``login1``."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from jobpool.testing import wait_until

HOST = "login1"
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Sshd:
    """``start`` and ``stop`` it; ``bin`` is a folder for the front of PATH, with an ssh that knows it as ``login1``."""

    def __init__(self, directory: Path, environment: Mapping[str, str], *, profile: str = "") -> None:
        self.directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            self.port = listening.getsockname()[1]
        for name in ("host", "user"):
            key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(directory / name)]
            subprocess.run(key, check=True, capture_output=True)
        variables = " ".join(f'"{name}={value}"' for name, value in environment.items())
        self._write("sshd_config", f"""
            ListenAddress 127.0.0.1:{self.port}
            HostKey {directory}/host
            AuthorizedKeysFile {directory}/user.pub
            PidFile none
            StrictModes no
            UsePAM no
            PasswordAuthentication no
            KbdInteractiveAuthentication no
            PermitRootLogin prohibit-password
            SetEnv TESTS_OF={os.environ["TESTS_OF"]} {variables}
            """)  # fmt: skip
        self._write("ssh_config", f"""
            Host {HOST}
            HostName 127.0.0.1
            Port {self.port}
            User {getpass.getuser()}
            IdentityFile {directory}/user
            IdentitiesOnly yes
            UserKnownHostsFile {directory}/known_hosts
            StrictHostKeyChecking yes
            """)  # fmt: skip
        public = (directory / "host.pub").read_text()
        self._write("known_hosts", f"[127.0.0.1]:{self.port} {public}")
        self.bin = directory / "bin"
        self.bin.mkdir()
        self._write("bin/ssh", f'#!/bin/sh\nexec {shutil.which("ssh")} -F {directory}/ssh_config "$@"\n')
        (self.bin / "ssh").chmod(0o755)

    def _write(self, name: str, text: str) -> None:
        (self.directory / name).write_text("".join(f"{line.strip()}\n" for line in text.strip().splitlines()))

    def start(self) -> None:
        assert SSHD
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config, log = self.directory / "sshd_config", self.directory / "sshd.log"
        self._process = subprocess.Popen([SSHD, "-D", "-f", str(config), "-E", str(log)])
        assert wait_until(self._answers, 30), log.read_text()

    def _answers(self) -> bool:
        with socket.socket() as sending:
            return sending.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Kill it with all connections."""
        if self._process is None:
            return
        sshd = psutil.Process(self._process.pid)
        for process in (*sshd.children(recursive=True), sshd):
            try:
                if process.name() == "sshd":
                    process.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait()
        self._process = None

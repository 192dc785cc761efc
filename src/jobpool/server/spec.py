"""What a server is started with: written by the client into the pool's directory, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jobpool.config.resolve import Settings
from jobpool.host.home import PoolDirectory
from jobpool.host.private_directory import opened
from jobpool.model.request import Retry
from jobpool.transport.packing import pack_plain, unpack_plain
from jobpool.transport.plain_data import as_plain, from_plain

__all__ = ["Spec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """All that a server must know."""

    settings: Settings
    system: str
    """Name of the batch system; never ``auto``."""
    initializer: bytes | None
    retry: Retry = field(default_factory=Retry)
    sys_path: tuple[str, ...]
    working_directory: str
    umask: int
    log_level: int = 30
    """That of the client's root logger."""
    versions: Mapping[str, str]
    own_logs: Path | None = None
    """A directory for this run's logs alone, where others may write in ``settings.log_directory``."""

    def save(self, directory: PoolDirectory) -> None:
        """Write it where only this user reads it."""
        directory.write("spec.msgpack", pack_plain(as_plain(self)))
        directory.write("system", f"{self.system}\n".encode())
        if self.settings.submit_host is not None:
            directory.write("submit_host", f"{self.settings.submit_host}\n".encode())

    @classmethod
    def load(cls, directory: PoolDirectory) -> Spec:
        """Read it back. Raises ``OSError``, also where others have put a directory of theirs in its place."""
        with opened(directory.path) as place:
            data = unpack_plain((place / "spec.msgpack").read_bytes())
        return from_plain(cls, data)

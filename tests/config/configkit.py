from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobpool.config.files import Places
from jobpool.config.resolve import Settings, resolve


class Site:
    """A place with all config files in one directory, and a resolve that sees nothing else."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment: dict[str, str] = {}
        self.places = Places(
            project=(root / "project" / "jobpool.toml", root / "jobpool.toml"),
            user=root / "user.toml",
            site=root / "site.toml",
            dask=(root / "dask",),
        )
        (root / "project").mkdir()
        (root / "dask").mkdir()

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def resolve(self, *, detect: Callable[[], str] = lambda: "slurm", **keywords: Any) -> Settings:
        return resolve(
            keywords,
            environment=self.environment,
            cwd=self.root / "project",
            places=self.places,
            detect=detect,
            cores_here=lambda: 8,
        )

"""Where the parts of a bench run: on this machine's own processes, and in the jobs of a practice SLURM.

A part is named as its peer, or as its peer and how it is used: "loky, best chunks".
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import _common
from _peers import LOCAL, SLURM, Peer

__all__ = ["PEERS", "Place", "places"]

PEERS = {**LOCAL, **SLURM}


def _peer_of(part: str) -> Peer | None:
    """Return the peer of a part; None: it is none, but what the peers are compared with."""
    return PEERS.get(part.partition(",")[0])


@dataclass(frozen=True)
class Place:
    """One of the two."""

    title: str
    peers: Mapping[str, Peer]
    env: Mapping[str, str]
    between: Callable[[], object]

    def run(
        self,
        subject: str,
        parts: Iterable[str],
        options: argparse.Namespace,
        sizes: Sequence[object],
        *,
        without: Collection[str] = (),
    ) -> _common.Runs:
        """Run those parts in turns that belong here, are installed and are asked for, and say who is not installed.

        A peer that fails is named, and takes no further part. ``subject`` is the title of the table that will follow.
        """
        used = [part for part in parts if self._takes(part, options.only) and part not in without]
        missing = [part for part in used if not _installed(part)]
        if missing:
            print(f"SKIPPED, not installed: {', '.join(missing)}")
        used = [part for part in used if part not in missing]
        if used:
            print(f"\n{subject}, {self.title}")
        peers = {part: peer for part in used if (peer := _peer_of(part)) is not None}
        return _common.in_turns(
            used,
            repeats=options.repeats,
            env=self.env,
            options=sizes,
            between=self.between,
            commands={part: peer.command() for part, peer in peers.items()},
            may_fail=[part for part, peer in peers.items() if peer.module != "jobpool"],
        )

    def _takes(self, part: str, only: Collection[str] | None) -> bool:
        name = part.partition(",")[0]
        if name not in PEERS:
            return True
        return name in self.peers and (only is None or name in only or PEERS[name].module == "jobpool")


def _installed(part: str) -> bool:
    peer = _peer_of(part)
    return peer is None or importlib.util.find_spec(peer.module) is not None


def places(options: argparse.Namespace) -> Iterator[Place]:
    """Yield the places that the options ask for; a SLURM is up while its place is in use."""
    if unknown := sorted(set(options.only or ()) - set(PEERS)):
        sys.exit(f"--only: {', '.join(unknown)} is none of: {', '.join(PEERS)}")
    with _common.home() as env:
        if options.where != "slurm":
            yield Place("2 local workers", LOCAL, env, lambda: None)
        if options.where != "local":
            with _common.lab_environment(env) as here:
                if here is not None:
                    lab, its_env = here
                    yield Place("2 jobs of a SLURM", SLURM, its_env, lab.cancel_jobs)

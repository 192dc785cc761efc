"""The plan of a new lab: names, ports and places that no other lab of this machine has."""

from __future__ import annotations

import os
import random
import string
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jobpool.testing.labs.machine import cgroup_version, free_ports, machine_node, name_is_loopback, user_name
from jobpool.testing.labs.slurm_config import LabPlan, Node

__all__ = ["make_plan"]

SOCKET_DIRECTORY_MAX = 65
"""Characters: 107 for a unix socket's path, less ``/NODE/NODE_JOBID.STEPID`` at its longest."""


def make_plan(
    directory: Path,
    *,
    nodes: int,
    gpus: int,
    accounting: bool,
    cgroups: bool,
    real: bool,
    settings: Mapping[str, str],
) -> LabPlan:
    """Plan a lab, with the meaning that :class:`~jobpool.testing.labs.slurm.SlurmLab` gives to these words."""
    tag = "".join(random.choices(string.ascii_lowercase, k=5))
    shapes = _nodes(tag, nodes, gpus, real=real)
    ctld_port, dbd_port, *node_ports = free_ports(2 + len(shapes))
    return LabPlan(
        directory=directory,
        run=_socket_directory(directory, tag),
        user=user_name(),
        cluster=tag,
        nodes=tuple(replace(node, port=port) for node, port in zip(shapes, node_ports, strict=True)),
        ctld_port=ctld_port,
        dbd_port=dbd_port if accounting else None,
        cgroups=cgroup_version() if cgroups else None,
        loopback=name_is_loopback(),
        settings=settings,
    )


def _nodes(tag: str, count: int, gpus: int, *, real: bool) -> list[Node]:
    model = machine_node(share=count) if real else Node(name="faked", port=0)
    nodes = [replace(model, name=f"{tag}-n{i + 1}") for i in range(count)]
    return [*nodes, replace(model, name=f"{tag}-gpu", gpus=gpus)] if gpus and not real else nodes


def _socket_directory(directory: Path, tag: str) -> Path:
    inside = directory / "run"
    if len(os.fsencode(inside)) <= SOCKET_DIRECTORY_MAX:
        return inside
    return Path(tempfile.mkdtemp(prefix=f"lab-{tag}-", dir="/tmp"))

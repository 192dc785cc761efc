"""Which options sbatch takes, and which are srun's alone: guides show both beside each other."""

from __future__ import annotations

__all__ = ["SRUN_ONLY", "SRUN_ONLY_SHORT", "is_known", "refusal"]

SRUN_ONLY = frozenset(
    {
        *("accel-bind", "bcast", "bcast-exclude", "compress", "cpu-bind", "cpu_bind", "disable-status", "epilog"),
        *("exact", "external-launcher", "het-group", "immediate", "interactive", "jobid", "kill-on-bad-exit", "label"),
        *("mpi", "mpi-combine", "msg-timeout", "multi-prog", "no-allocate", "overlap", "preserve-env", "prolog", "pty"),
        *("quit-on-interrupt", "relative", "resv-ports", "send-libs", "slurmd-debug", "task-epilog", "task-prolog"),
        *("tree-width", "unbuffered"),
    }
)
"""Long options of srun that sbatch refuses. (``--threads`` is not one: there it is short for --threads-per-core.)"""

SRUN_ONLY_SHORT = {
    "E": "preserve-env", "I": "immediate", "K": "kill-on-bad-exit", "l": "label", "r": "relative", "u": "unbuffered",
    "X": "disable-status", "Z": "no-allocate",
}  # fmt: skip

_SBATCH = frozenset(
    {
        *("account", "acctg-freq", "array", "batch", "bb", "bbf", "begin", "chdir", "cluster-constraint", "clusters"),
        *("comment", "consolidate-segments", "constraint", "container", "container-id", "contiguous", "core-spec"),
        *("cores-per-socket", "cpu-freq", "cpus-per-gpu", "cpus-per-task", "deadline", "delay-boot", "dependency"),
        *("distribution", "error", "exclude", "exclusive", "export", "export-file", "extra", "extra-node-info"),
        *("get-user-env", "gid", "gpu-bind", "gpu-freq", "gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task"),
        *("gres", "gres-flags", "help", "hint", "hold", "ignore-pbs", "input", "job-name", "kill-on-invalid-dep"),
        *("licenses", "mail-type", "mail-user", "mcs-label", "mem", "mem-bind", "mem-per-cpu", "mem-per-gpu"),
        *("mincpus", "network", "nice", "no-kill", "no-requeue", "nodefile", "nodelist", "nodes", "ntasks"),
        *("ntasks-per-core", "ntasks-per-gpu", "ntasks-per-node", "ntasks-per-socket", "ntasks-per-tres"),
        *("oom-kill-step", "open-mode", "output", "overcommit", "oversubscribe", "parsable", "partition", "power"),
        *("prefer", "priority", "profile", "propagate", "qos", "quiet", "reboot", "requeue", "reservation"),
        *("resources", "segment", "share", "signal", "sockets-per-node", "spread-job", "spread-segments", "stepmgr"),
        *("switches", "tasks-per-node", "test-only", "thread-spec", "threads-per-core", "time", "time-min", "tmp"),
        *("tres-bind", "tres-per-task", "tres-per-job", "tres-per-node", "tres-per-socket", "uid", "usage"),
        *("use-min-nodes", "verbose", "version", "wait", "wait-all-nodes", "wckey", "workdir", "wrap"),
    }
)


def is_known(name: str) -> bool:
    """Say whether an sbatch has this long option, or one that it is the beginning of, as getopt reads it."""
    return name in _SBATCH or any(option.startswith(name) for option in _SBATCH)


def refusal(name: str) -> str:
    """Say why sbatch refuses this option of srun, and what to do. ``name`` is the long one, without dashes."""
    if name in ("cpu-bind", "cpu_bind"):
        cure = "leave it out: calls are bound to their cores by bind= ('cores', 'threads' or 'none'); a script says it "
        cure += "behind srun"
    else:
        cure = "leave it out; a script says it behind srun, not in its head"
    return f"--{name} is an option of srun: sbatch refuses it; {cure}"

"""How much is used of the resource quotas that hold for a user."""

from __future__ import annotations

from xml.etree import ElementTree

from jobpool.batch.explainer import Used
from jobpool.batch.sge.environment import command
from jobpool.model.command import Command, Completed

__all__ = ["command_of", "parse"]


def command_of(user: str) -> Command:
    """Make the command. It shows the rules of which something is used."""
    return command("qquota", "-u", user, "-xml", timeout=20.0)


def parse(done: Completed, *, user: str) -> tuple[Used, ...] | None:
    """Read its answer. None: not known."""
    if not done.ok:
        return () if "no resource quota set" in done.words.lower() else None
    try:
        root = ElementTree.fromstring(_without_namespace(done.stdout))
    except ElementTree.ParseError:
        return None
    found = []
    for rule in root.iter("qquota_rule"):
        for limit in rule.iter("limit"):
            try:
                most, used = float(limit.get("limit", "")), float(limit.get("value", ""))
            except ValueError:
                continue
            what = f"{limit.get('resource', '')} (rule {rule.get('name', '')!r})"
            found.append((what, most, used))
    return tuple(found)


def _without_namespace(text: str) -> str:
    head, mark, rest = text.partition(" xmlns=")
    return head + rest[rest.find(">") :] if mark else text

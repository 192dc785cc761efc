"""``jobpool config``: every setting with its value and where it came from."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from jobpool.config.resolve import Settings

__all__ = ["config"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON: sizes in bytes, times in seconds.")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
def config(settings: tuple[str, ...], as_json: bool) -> None:
    """Show each setting with its value and where it came from.

    KEY=VALUE stands for a keyword of JobPoolExecutor and overrides all other sources:

    \b
    jobpool config scheduler=slurm memory="8 GiB"
    """
    from jobpool.config.resolve import keywords_from_text, resolve
    from jobpool.show.view import show_json, show_note, show_table

    resolved = resolve(keywords_from_text(settings))
    if as_json:
        show_json(_data(resolved))
        return
    show_table(("setting", "value", "from"), _rows(resolved))
    for note in filter(None, (resolved.choice, *resolved.notes)):
        show_note(note)


def _values(settings: Settings) -> dict[str, Any]:
    """Return every value in the form in which it may be given."""
    values = settings.values()
    return values | {"python": shlex.join(values["python"]), "system_options": dict(values["system_options"])}


def _rows(settings: Settings) -> list[tuple[str, object, str]]:
    values = _values(settings)
    if settings.scheduler != settings.system:
        values["scheduler"] = f"{settings.scheduler}: {settings.system}"
    if settings.log_directory is None:
        values["log_directory"] = "in the pool's directory"
    return [(name, value, str(settings.origins[name])) for name, value in values.items()]


def _data(settings: Settings) -> dict[str, Any]:
    entries = {}
    for name, value in _values(settings).items():
        origin = settings.origins[name]
        entries[name] = {"value": value, "from": origin.kind, "place": origin.place, "key": origin.key}
    return {"system": settings.system, "settings": entries, "choice": settings.choice, "notes": settings.notes}

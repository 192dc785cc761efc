"""``jobpool top``: a pool, live in a terminal. Textual draws; what stands in the cells is as in ``status``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.widgets import DataTable, Footer, Input, Label, Static
from textual.worker import get_current_worker

from jobpool.model.errors import JobPoolError
from jobpool.model.status import JobStatus, PoolStatus
from jobpool.show.answers import read_answer
from jobpool.show.logs import last_lines
from jobpool.show.status import function_row, headline, job_row, progress_text, used_text
from jobpool.show.view import as_text
from jobpool.transport.messages.base import Question
from jobpool.transport.messages.client import AskStatus, CancelJob

__all__ = ["Confirm", "Top"]

REFRESH = 1.0
"""Seconds between two looks: the server counts anyway, and answers in a millisecond."""

LINES = 200
"""Of a log that are shown."""


class Confirm(ModalScreen[bool]):
    """Asks before something is done that cannot be undone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """Show the question."""
        yield Label(Text(f"{self._question}\n\ny: yes    n: no"), id="question")

    def action_answer(self, yes: bool) -> None:
        """Close with the answer."""
        self.dismiss(yes)


class Top(App[None]):
    """The program. ``ask`` asks the server, in a thread."""

    CSS = """
    #head { height: auto; padding: 0 1; background: $boost; }
    #jobs { height: 2fr; } #functions { height: 1fr; }
    #log-pane { height: 2fr; border-top: solid $primary; overflow-y: auto; }
    #filter { display: none; } #filter.shown { display: block; }
    Confirm { align: center middle; }
    #question { padding: 1 3; border: thick $warning; background: $surface; width: auto; max-width: 80%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("slash", "filter", "Filter"),
        Binding("escape", "clear_filter", "All", show=False),
        Binding("e", "ended", "Ended jobs"),
        Binding("c", "cancel", "Cancel job"),
    ]

    def __init__(self, ask: Callable[[Question[Any]], Any], *, name: str) -> None:
        super().__init__()
        self._ask, self.title = ask, f"jobpool top {name}"
        self._status: PoolStatus | None = None
        self._wanted = ""
        self._ended = False

    def compose(self) -> ComposeResult:
        """Lay the parts out."""
        yield Static(id="head")
        yield Input(placeholder="show jobs with this in a cell; Enter: done, Escape: all", id="filter")
        yield DataTable(id="jobs", cursor_type="row")
        yield DataTable(id="functions", cursor_type="none")
        yield Vertical(Static(id="log"), id="log-pane")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self._jobs.add_columns("job", "state", "node", "workers", "for", "reason")
        self._functions.add_columns("function", "waiting", "running", "done", "failed")
        self._jobs.focus()
        self.set_interval(REFRESH, self._look)
        self._look()

    @property
    def _main(self) -> Screen[Any]:
        # Not self.query_one, which looks into the question while there is one.
        return self.screen_stack[0]

    @property
    def _jobs(self) -> DataTable[Text]:
        return self._main.query_one("#jobs", DataTable)

    @property
    def _functions(self) -> DataTable[Text]:
        return self._main.query_one("#functions", DataTable)

    # ---------------------------------------------------------------------------------------------------- looking

    def _look(self) -> None:
        self.run_worker(self._fetch, thread=True, exclusive=True, group="look")

    def _fetch(self) -> None:
        worker = get_current_worker()
        try:
            status = read_answer(PoolStatus, self._ask(AskStatus()))
        except (JobPoolError, OSError) as error:
            if not worker.is_cancelled:
                self.call_from_thread(self._lost, str(error))
            return
        if not worker.is_cancelled:
            self.call_from_thread(self._show, status)

    def _lost(self, words: str) -> None:
        if self.screen_stack:
            self._main.query_one("#head", Static).update(Text(words, style="bold red"))

    def _show(self, status: PoolStatus) -> None:
        if not self.screen_stack:
            return
        self._status = status
        lines = [headline(status), progress_text(status), *used_text(status)]
        lines += [f"{'warning: ' if warning else ''}{text}" for text, warning in status.notices[-2:]]
        self._main.query_one("#head", Static).update(Text("\n".join(line for line in lines if line)))
        self._show_jobs(status)
        self._functions.clear()
        for function in status.functions:
            self._functions.add_row(*(Text(as_text(cell)) for cell in function_row(function)))
        self._show_log()

    def _show_jobs(self, status: PoolStatus) -> None:
        table, chosen = self._jobs, self._chosen_key()
        table.clear()
        for job in status.jobs:
            row = [as_text(cell) for cell in job_row(job, status.system)]
            if (self._ended or job.state != "ended") and any(self._wanted in cell.lower() for cell in row):
                table.add_row(*map(Text, row), key=_key(job))
        if chosen is not None and chosen in table.rows:
            table.move_cursor(row=table.get_row_index(chosen))

    def _chosen_key(self) -> str | None:
        table = self._jobs
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value if table.row_count else None

    def _chosen(self) -> JobStatus | None:
        key = self._chosen_key()
        jobs = () if self._status is None else self._status.jobs
        return next((job for job in jobs if _key(job) == key), None)

    def _show_log(self) -> None:
        job = self._chosen()
        said = "" if job is None or job.log is None else last_lines(job.log, LINES)
        # Whole: in the table a long reason is cut where the terminal ends.
        reason = "" if job is None or self._status is None else job_row(job, self._status.system)[-1]
        pane = self._main.query_one("#log-pane", Vertical)
        at_end = pane.scroll_offset.y >= pane.max_scroll_y - 1
        told = Text(f"{as_text(reason)}\n" if reason else "", style="bold")
        told.append_text(Text("\n".join(map(as_text, said.splitlines())), style="not bold"))
        self._main.query_one("#log", Static).update(told)
        if at_end:  # else somebody reads further up
            pane.scroll_end(animate=False)

    def on_data_table_row_highlighted(self) -> None:
        """Show the log of the job under the cursor."""
        if self.screen_stack:  # the table may tell it when all is closed
            self._show_log()

    # ----------------------------------------------------------------------------------------------------- doing

    def action_filter(self) -> None:
        """Open the field for a filter."""
        field = self._main.query_one("#filter", Input)
        field.add_class("shown")
        field.focus()

    def action_clear_filter(self) -> None:
        """Show all jobs again."""
        field = self._main.query_one("#filter", Input)
        field.value = ""
        field.remove_class("shown")
        self._jobs.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        self._wanted = event.value.lower()
        if self._status is not None:
            self._show_jobs(self._status)

    def on_input_submitted(self) -> None:
        """Go back to the jobs, with the filter as it is."""
        self._jobs.focus()

    def action_ended(self) -> None:
        """Show the ended jobs too, or not any more."""
        self._ended = not self._ended
        if self._status is not None:
            self._show_jobs(self._status)

    def action_cancel(self) -> None:
        """Cancel the job under the cursor, after a question."""
        job = self._chosen()
        if job is None or job.id is None or job.state in ("closing", "ended"):
            self.notify("there is no job to cancel under the cursor", severity="warning")
            return
        id = job.id
        question = f"Cancel the job {id}? Its calls run again in another one, which the pool may ask for."

        def answered(yes: bool | None) -> None:
            if yes:
                self.run_worker(lambda: self._cancel(id), thread=True)

        self.push_screen(Confirm(question), answered)

    def _cancel(self, id: str) -> None:
        try:
            known = self._ask(CancelJob(id=id)).known
            words = f"the job {id} is being cancelled" if known else f"the job {id} is not of this pool any more"
        except (JobPoolError, OSError) as error:
            words = str(error)
        self.call_from_thread(self.notify, words)


def _key(job: JobStatus) -> str:
    return ".".join(map(str, job.key))

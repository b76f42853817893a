"""What ``headend scan`` tells while it runs, and the whole at its end."""

from collections.abc import Callable
from typing import Self

from rich.progress import BarColumn, Progress, TextColumn

from drivers.transports.url import Form
from headend.cli.app import App
from headend.cli.output import Column, Document, instant
from headend.cli.words import counted
from headend.scan.found import Crowd, FoundMeter
from headend.scan.ground import short
from headend.scan.plan import Scan
from headend.scan.probe import Question

COLUMNS = (
    Column("state", "State"),
    Column("protocol", "Protocol"),
    Column("address", "Address"),
    Column("setting", "Setting"),
    Column("meter", "Meter"),
    Column("model", "Says it is"),
    Column("profile", "Profile"),
    Column("also", "Answers at, too"),
    Column("note", "Note"),
    Column("link", "Link"),
)
FOUND, SEVERAL = "found", "several answer"


class Teller:
    """Tells what is found while it is found, and on a terminal how far the scan is."""

    def __init__(self, app: App, scan: Scan, link: Callable[[Form], str]) -> None:
        self._app = app
        self._scan = scan
        self._link = link
        output = app.output
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.percentage:>3.0f} %  {task.fields[left]}"),
            console=output.err, disable=output.is_quiet or not output.err.is_terminal, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("listening", total=None, left="")

    def __enter__(self) -> Self:
        self._app.output.say(
            f"{counted(self._scan.questions_left(), 'question')}, {span(self._scan.remaining())} at least"
        )
        if self._app.output.format_name == "ndjson":  # what was found before a cut; the rest follows as it is found
            for row in self._rows():
                self._emit_row(row)
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def found(self, meter: FoundMeter) -> None:
        """Tell of a meter: as data where each row stands for itself, else in words."""
        if self._app.output.format_name == "ndjson":
            self._emit_row(_row(meter, self._link))
        what = " ".join(filter(None, (meter.name, meter.model)))
        self._app.output.say(f"found: {meter.place}" + (f", {what}" if what else ""))

    def crowded(self, crowd: Crowd) -> None:
        """Tell of an address at which several answer."""
        if self._app.output.format_name == "ndjson":
            self._emit_row(_crowd_row(crowd, self._link))
        self._app.output.warn(f"more than one meter answers at {crowd.place}, or something else: {crowd.why}")

    def noticed(self, text: str) -> None:
        """Tell something about the line."""
        self._app.output.warn(text)

    def settled(self, question: Question) -> None:
        """Show how far the scan is."""
        spent, left = self._scan.pace.spent, self._scan.remaining()
        where = f"{question.kind} {question.target or 'any'} at {short(question.form)}"
        self._bar.update(self._task, description=where, total=spent + left, completed=spent, left=f"{span(left)} left")

    def finish(self) -> None:
        """Write the whole of what was found, where that was not done row by row."""
        scan = self._scan
        app = self._app
        if app.output.format_name != "ndjson":
            rows = self._rows()
            summary = {
                "at": instant(app.now()), "seconds": round(scan.pace.spent), "questions": scan.pace.asked,
                "strangers": scan.strangers, "left_out": [short(form) for form in scan.refused],
            }  # fmt: skip
            empty = frozenset(column.key for column in COLUMNS if not any(row[column.key] for row in rows)) | {"link"}
            app.output.emit(Document("headend.scan/1", COLUMNS, rows, summary, hidden=empty))
        app.output.say(
            f"{counted(len(scan.meters), 'meter')} in {span(scan.pace.spent)}, {counted(scan.pace.asked, 'question')}"
        )

    def _rows(self) -> list[dict[str, object]]:
        meters = [_row(meter, self._link) for meter in self._scan.meters]
        return meters + [_crowd_row(crowd, self._link) for crowd in self._scan.crowds]

    def _emit_row(self, row: dict[str, object]) -> None:
        self._app.output.emit(Document("headend.scan/1", COLUMNS, [row]))
        self._app.output.out.file.flush()


def _row(meter: FoundMeter, link: Callable[[Form], str]) -> dict[str, object]:
    return {
        "state": FOUND, "protocol": str(meter.kind), "address": meter.address, "setting": short(meter.form),
        "meter": meter.name, "model": meter.model, "profile": meter.profile, "also": list(meter.also),
        "note": meter.note, "link": link(meter.form),
    }  # fmt: skip


def _crowd_row(crowd: Crowd, link: Callable[[Form], str]) -> dict[str, object]:
    return {
        "state": SEVERAL, "protocol": str(crowd.kind), "address": crowd.address, "setting": short(crowd.form),
        "meter": "", "model": "", "profile": "", "also": [], "note": crowd.why, "link": link(crowd.form),
    }  # fmt: skip


def span(seconds: float) -> str:
    """Write a time as people say it."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{round(whole / 60)} min" if whole < 7_200 else f"{whole / 3_600:.1f} h"

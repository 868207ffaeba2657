"""One live line a stage on a terminal; plain lines elsewhere."""

import io

from rich.console import Console

from contrasift.cli.console import ConsoleNarrator


def on_terminal() -> tuple[ConsoleNarrator, io.StringIO]:
    shown = io.StringIO()
    narrator = ConsoleNarrator()
    narrator._console = Console(file=shown, force_terminal=True, width=100, highlight=False)
    return narrator, shown


def test_a_stage_and_its_work_share_one_line_which_goes():
    narrator, shown = on_terminal()
    with narrator.working("embed"):
        with narrator.progress("embedding", "examples") as report:
            report(50, 100)
            live = narrator._live
            assert live is not None
            live.refresh()
        assert len(live.tasks) == 1
    narrator.say("embed  1.0 s")
    assert narrator._live is None
    assert "50 of 100" in shown.getvalue()
    assert shown.getvalue().endswith("\x1b[2Kembed  1.0 s\n")


def test_elsewhere_a_stage_is_a_plain_line(capsys):
    narrator = ConsoleNarrator()
    with narrator.working("embed"), narrator.progress("embedding") as report:
        report(1, 2)
    assert capsys.readouterr().err == "embed ...\n"


def test_quiet_is_quiet(capsys):
    narrator = ConsoleNarrator(quiet=True)
    with narrator.working("embed"), narrator.progress("embedding") as report:
        report(1, 2)
    assert capsys.readouterr().err == ""

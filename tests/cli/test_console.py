"""What is printed: text as it is, whoever chose it."""

import os
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from contrasift.cli import app
from contrasift.cli.console import ConsoleNarrator, show_error, visible
from contrasift.errors import DataError


def test_control_characters_are_shown_and_not_obeyed():
    assert visible("a\x1b[31mb\x07\x9b\x00\r") == r"a\x1b[31mb\x07\x9b\x00\x0d"
    assert visible("one\n\ttwo é 字") == "one\n\ttwo é 字"
    assert visible("") == ""


def test_hostile_names_are_text_on_the_terminal(capsys):
    ConsoleNarrator().say("left out \x1b]0;owned\x07[bold]x[/].png")
    show_error(DataError("\x1b[2J", "[red]got", "\x1b[0m"))
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "\x07" not in said
    assert r"left out \x1b]0;owned\x07[bold]x[/].png" in said
    assert r"\x1b[2J" in said
    assert "[red]got" in said


def test_a_run_over_hostile_names():
    os.mkdir("photos")
    Image.new("RGB", (8, 8)).save("photos/\x1b[31m[bold].png")
    Path("photos/\x1b[2Jbad.png").write_bytes(b"no image")
    result = CliRunner().invoke(app, ["embed", "photos", "--out", "run"])
    assert result.exit_code == 1
    assert "at least two images that can be read" in result.stderr
    assert "\x1b" not in result.output

"""Odd outputs, names and numbers: a message or a result, never a traceback (the kind of fault 16)."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from contrasift import cli
from contrasift.cli import app


@pytest.fixture
def matrix(rng):
    np.save("z.npy", rng.normal(size=(30, 4)).astype(np.float32))


def call(*words: str, shell: str = "", coding: str = "utf-8") -> subprocess.CompletedProcess:
    command = f"{sys.executable} -m contrasift {' '.join(words)} {shell}"
    import os

    return subprocess.run(
        ["sh", "-c", command],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": coding, "PYTHONUTF8": "0"},
    )


SELECT = ("select", "z.npy", "--classes", "none", "--fraction", "0.2", "--out", "o")


@pytest.mark.parametrize("coding", ["ascii", "cp1252"])
@pytest.mark.parametrize(
    "words",
    [
        SELECT,
        ("select", "--help"),
        ("datasets",),
        ("bounds", "--classes", "10"),
        ("x",),
    ],
    ids=lambda words: words[0] + words[-1],
)
def test_terminals_without_all_signs(matrix, coding, words):
    done = call(*words, coding=coding)
    assert b"Traceback" not in done.stderr
    assert b"UnicodeEncodeError" not in done.stderr
    assert done.returncode == (2 if words == ("x",) else 0)


def test_json_to_a_closed_output(matrix):
    done = call(*SELECT, "--json", shell=">&-")
    assert b"Traceback" not in done.stderr
    assert done.returncode == 2
    assert b"a closed one" in done.stderr
    assert call(*SELECT, shell=">&-").returncode == 0


@pytest.mark.parametrize("words", [(*SELECT, "--json"), ("datasets",)])
def test_an_output_that_is_full_or_gone(matrix, words):
    for shell in (">/dev/full", "| true"):
        done = call(*words, shell=shell)
        assert b"Traceback" not in done.stderr, done.stderr.decode()


@pytest.mark.parametrize("length", [256, 300, 5000])
@pytest.mark.parametrize("command", ["select", "run", "export"])
def test_names_that_are_too_long(matrix, length, command):
    out = "o" * length
    words = {
        "select": ["select", "z.npy", "--classes", "none", "--fraction", "0.2", "--out", out],
        "run": ["run", "digits", "--limit", "8", "--epochs", "1", "--out", out],
        "export": ["export", "nowhere", "--out", out],
    }[command]
    done = CliRunner().invoke(app, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (1, 2)


NUMBERS = ["18446744073709551616", "-1", "9223372036854775807", "1e20"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "flag", ["--min-per-class", "--seed", "--budget", "--neighbours", "--steps", "--threads"]
)
def test_numbers_of_any_size_in_select(matrix, number, flag):
    words = ["select", "z.npy", "--classes", "none", "--out", "o", flag, number]
    words += [] if flag == "--budget" else ["--fraction", "0.2"]
    done = CliRunner().invoke(app, words)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (0, 1, 2)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("flag", ["--seed", "--limit", "--views"])
def test_numbers_of_any_size_in_embed(number, flag):
    if number == "9223372036854775807" and flag == "--views":
        pytest.skip("it would try as many")
    rng = np.random.default_rng(0)
    np.save("p.npy", rng.integers(0, 255, (12, 8, 8)).astype(np.uint8))
    words = ["embed", "p.npy", "--encoder", "narrow:0.125", "--batch-size", "4", "--out", "r"]
    words = [*words, "--proxy-epochs", "1", "--architecture", "narrow:0.125"]
    words[3] = "proxy"
    words += ["--views", "1"] if flag != "--views" else []
    done = CliRunner().invoke(app, [*words, flag, number])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (0, 1, 2)


def test_class_names_are_no_markup(matrix):
    names = ["[/]", "[red]", "[bold", "\x1b[31m"] * 7 + ["a", "b"]
    with open("c.txt", "w") as file:
        file.write("\n".join(names))
    done = CliRunner().invoke(app, [*SELECT, "--classes", "c.txt"])
    assert done.exit_code == 0, done.exception
    assert "[/]" in done.output
    assert "\x1b[31m" not in done.output
    shown = CliRunner().invoke(app, [*SELECT, "--classes", "c.txt", "--json"])
    assert {part["name"] for part in json.loads(shown.stdout)["classes"]} == set(names)


def test_an_interruption_before_the_command_began_is_no_traceback(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == ""

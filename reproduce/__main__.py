"""`python -m reproduce` is the command line."""

from reproduce.cli import app

app(prog_name="python -m reproduce")

"""`python -m contrasift` is the command line."""

from contrasift.cli import main

main()

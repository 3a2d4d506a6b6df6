"""Run the command line as `python -m qta`."""

from qta.cli import main

main()

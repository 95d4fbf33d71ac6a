"""python -m samebase."""

from samebase.cli import main

main()

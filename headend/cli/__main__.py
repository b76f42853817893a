"""``python -m headend.cli``."""

from headend.cli.main import main

main()

"""``python -m recsvc`` is the recsvc command."""

from recsvc.cli import main

main()

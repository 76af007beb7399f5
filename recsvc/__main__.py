"""``python -m recsvc`` is the recsvc command."""

from recsvc.cli.main import main

main()

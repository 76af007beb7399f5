"""Ingest a folder once: ``python -m jobs.ingest DIR`` (``recsvc.jobs.ingest`` when installed)."""

import sys

from recsvc.cli.main import main

if __name__ == "__main__":
    main(["ingest", *sys.argv[1:]])

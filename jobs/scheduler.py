"""Retrain every night: ``python -m jobs.scheduler`` (``recsvc.jobs.scheduler`` when installed)."""

import sys

from recsvc.cli.main import main

if __name__ == "__main__":
    main(["schedule", *sys.argv[1:]])

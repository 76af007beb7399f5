"""Retrain once: ``python -m jobs.retrain`` (``recsvc.jobs.retrain`` when installed)."""

import sys

from recsvc.cli.main import main

if __name__ == "__main__":
    main(["retrain", *sys.argv[1:]])

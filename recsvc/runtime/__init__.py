"""What everything stands on: threads, compiled functions, files, signals, logs."""

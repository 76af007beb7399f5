"""What ingest writes and training reads."""

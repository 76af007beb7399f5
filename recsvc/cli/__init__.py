"""The recsvc command: parse, call, print."""

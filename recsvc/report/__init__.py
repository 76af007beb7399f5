"""The morning report: tables in, one HTML page with pictures out, without a script."""

"""Typed queries for the commands and the report."""

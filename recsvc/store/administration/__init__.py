"""Migrations, the check of the schema, and grants."""

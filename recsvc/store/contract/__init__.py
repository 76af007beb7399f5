"""What outsiders see: tables, views, column types."""

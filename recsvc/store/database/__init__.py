"""Connections, transactions, bulk transfer: the same on both databases."""

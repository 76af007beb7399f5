"""Interactions, features and splits: the one place where ids and indices meet."""

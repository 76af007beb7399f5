"""The line-up: one file for each recommender, and the registry."""

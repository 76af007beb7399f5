"""recsvc: a database-backed batch recommender."""

"""Data to try recsvc with: MovieLens, and synthetic data of any size."""

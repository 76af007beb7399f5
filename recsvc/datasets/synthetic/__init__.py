"""MovieLens-shaped data with known structure."""

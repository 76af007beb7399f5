"""Files to validated rows: the CSV formats, the manifest of a folder, synthetic data, download."""

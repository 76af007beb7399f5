"""LightFM models: configuration, training, embeddings, going on from an earlier run."""

"""Arrays in, arrays out: dataset, features, split, models, ranking and metrics. No SQL."""

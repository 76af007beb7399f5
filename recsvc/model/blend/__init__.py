"""Several models added up for each user: their weights, and how a holdout chooses them."""

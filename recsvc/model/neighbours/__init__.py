"""Which items people like near each other in time, and what follows for each user."""

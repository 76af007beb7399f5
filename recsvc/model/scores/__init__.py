"""What a recommender thinks of every item, block by block of users."""

"""The best items of each user, exactly as a full sort would order them."""

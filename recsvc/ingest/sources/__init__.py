"""What each source file holds, and what a value in it may be."""

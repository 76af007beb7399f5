"""Files to records and rows, with the line of whatever is wrong."""

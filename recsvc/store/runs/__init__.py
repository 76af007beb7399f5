"""A run from its claim to its publication: ledger, lease, output, verification."""

"""How good lists are: metrics, segments, and the gate before publication."""

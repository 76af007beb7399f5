"""The scheduled run in order: load, compare, publish; and when it is started."""

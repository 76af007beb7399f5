"""Process entry points for schedulers and operators."""

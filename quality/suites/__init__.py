"""One suite per table."""

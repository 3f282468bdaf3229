"""Build the index shards whose content changed."""

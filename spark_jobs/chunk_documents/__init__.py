"""Cut documents into chunks that fit the embedding model."""

"""What must be true of the tables and of retrieval, and the reports that show it."""

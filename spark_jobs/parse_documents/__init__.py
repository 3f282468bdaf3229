"""Read a source folder, tell documents from rejects, and bring the document table up to date."""

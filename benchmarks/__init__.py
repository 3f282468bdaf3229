"""One runnable script per claim in the README; the last line of each is one JSON object."""

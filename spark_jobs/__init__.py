"""Spark jobs: parse, chunk, embed, load the index. Dagster launches each as a process of its own."""

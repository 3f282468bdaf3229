"""What the session tells the worker daemon to import."""

__all__ = ["PRELOAD_VARIABLE"]

PRELOAD_VARIABLE = "FOREBAY_WORKER_PRELOAD"
"""Environment variable with modules, separated by commas; set by the session, not by people."""

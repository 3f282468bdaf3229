"""The generator's checkpoints."""

__all__: list[str] = []

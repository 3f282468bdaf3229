"""The gateway: the OpenAI-compatible API, grounding of answers, and the only service that listens on TCP."""

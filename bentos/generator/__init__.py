"""The generator: a vLLM server as a child process, and one streaming API in front of it."""

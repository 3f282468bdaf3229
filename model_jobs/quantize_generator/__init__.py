"""AWQ quantization of the generation model, and the check of what comes out."""

"""Assets by stage, and what starts them."""

"""The online side: BentoML services gateway, retriever and generator."""

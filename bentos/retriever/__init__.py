"""The retriever: searches the current release and follows the release pointer without dropping a search."""

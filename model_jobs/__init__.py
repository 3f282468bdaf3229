"""Jobs over models, each run in an environment of its own: none imports `forebay` or its dependencies."""

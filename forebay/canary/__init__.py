"""Canary releases: a share of the searches goes to a candidate, which is compared online before it is promoted."""

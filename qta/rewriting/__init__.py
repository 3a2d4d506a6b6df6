"""Rewrite requests with a language model that is shown a few tools."""

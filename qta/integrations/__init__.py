"""Adapters to agent frameworks; each needs its framework only in what it is given."""

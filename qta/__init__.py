"""Retrieve the tools that a request needs, and align the retrieval to a catalogue of one's own."""

__version__ = "0.1.0"

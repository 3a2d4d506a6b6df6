"""Make the files that are served from trained weights."""

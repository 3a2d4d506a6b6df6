"""Train: preference pairs, DPO, the supervised stage; needs `make install`, serving needs none of it."""

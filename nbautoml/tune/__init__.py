"""Tuning: which trials a run tries (`driver`), how a worker trains them (`work`), and the winner as plain code."""

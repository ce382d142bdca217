"""Benchmarks of `run.py bench`."""

"""Measurements: ratios against a floor in the same run, printed, never asserted.

Run one with `python -m tests.bench.NAME`.
"""

"""Measure and check this machine."""

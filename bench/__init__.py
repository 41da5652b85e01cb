"""Figures of our own programs, each a table that names its machine and its SRTP profile; they gate nothing (docs/measurements.md)."""

"""Jitted code that calls the C library itself, and so runs without Python: what control and polling have in common."""

"""Benchmarks of the gateway's own parts: what can this machine sustain?"""

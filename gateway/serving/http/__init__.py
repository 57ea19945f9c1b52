"""Metrics, health and the live page."""

"""Simulated devices that serve the plants over real sockets."""

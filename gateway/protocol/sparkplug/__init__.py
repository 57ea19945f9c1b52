"""Sparkplug B on the host's side, without I/O (Sparkplug Specification 3.0.0)."""

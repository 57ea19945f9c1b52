"""Upstreams: send(record) -> accepted, rejected or retry. Siblings never import each other."""

"""fieldgate: an edge gateway daemon for industrial plants."""

__version__ = "0.1.0"

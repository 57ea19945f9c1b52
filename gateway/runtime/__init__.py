"""The composition root: wiring, clock, threads, supervisor, systemd."""

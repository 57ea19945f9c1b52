"""The soak: the whole daemon for an hour, or a night, under load and among faults, and whether it stays as it was."""

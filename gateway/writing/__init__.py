"""Writing to the plant on somebody's order: `service` decides and acts, `audit` remembers, the rest are ways in."""

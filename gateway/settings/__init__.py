"""Settings: frozen types (schema) and the reader that turns TOML into them (load)."""

"""Plants: pure step(dt_s, u) functions."""

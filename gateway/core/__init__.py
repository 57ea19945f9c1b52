"""The pure core: types, limits, state and the engine. No clock, no I/O, no randomness."""

"""Control loops and the GIL-free executive that runs them."""

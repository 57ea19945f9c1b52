"""Plants as pure step functions, simulated devices on real sockets, and recorded series."""

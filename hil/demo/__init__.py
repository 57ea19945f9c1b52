"""The demo: a small plant, a broker, the gateway and a consumer, each a real process on loopback."""

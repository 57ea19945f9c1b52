"""MQTT links: one source (`source`) a broker session, and one more for tags that are durable."""

"""MQTT ingest: one source a broker session."""

from gateway.sources.mqtt.source import METRICS, MqttSource, feed_of

__all__ = ["METRICS", "MqttSource", "feed_of"]

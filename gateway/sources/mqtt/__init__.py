"""MQTT ingest: one source a broker session."""

from gateway.sources.mqtt.feeds import feed_of
from gateway.sources.mqtt.metrics import METRICS
from gateway.sources.mqtt.reporting import ruled_of
from gateway.sources.mqtt.source import MqttSource

__all__ = ["METRICS", "MqttSource", "feed_of", "ruled_of"]

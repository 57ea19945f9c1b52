"""Settings of sessions with MQTT brokers, as `gateway.settings.schema`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import msgspec


class MqttVersion(StrEnum):
    V311 = "3.1.1"
    V5 = "5"


class Retained(StrEnum):
    """Which retained messages a subscription brings (MQTT 5, 3.8.3.1)."""

    EACH = "each"
    """At each connection."""
    NEW = "new"
    """Only where the broker did not know the subscription."""
    NEVER = "never"


class LogIn(msgspec.Struct, frozen=True, kw_only=True):
    """How a session logs in at an address, and whom it trusts there. Secrets are read from their files when it
    starts."""

    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    """The client's certificate, its chain behind it, and its key unless `key_file` has that."""
    key_file: Path | None = None
    key_password_file: Path | None = None
    username: str | None = None
    username_file: Path | None = None
    password_file: Path | None = None


class BrokerAddress(LogIn, frozen=True, kw_only=True):
    """Where an MQTT broker is."""

    host: str
    port: int
    version: MqttVersion = MqttVersion.V311
    client_id: str
    keep_alive_s: int = 30

    @property
    def name(self) -> str:
        """What it is called in words."""
        return f"mqtt{'s' if self.tls else ''}://{self.host}:{self.port}"

    @property
    def described(self) -> str:
        return f"{self.name} ({self.version})"


class SparkplugHost(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway as a host application of Sparkplug B."""

    host_id: str | None = None
    """Under which it publishes its STATE; None: it publishes none."""
    reorder_ns: int = 2_000_000_000
    """How long a missing message may take before the edge node is asked for its births."""


class MqttSession(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscriber agrees with its broker. From `retained` on of MQTT 5 only."""

    shared_group: str | None = None
    """Subscribers of one group share the messages; None: this one has them all."""
    message_bytes_max: int = 131_072
    """What is longer is skipped, counted and told."""
    retained: Retained = Retained.EACH
    no_local: bool = False
    retain_as_published: bool = False
    session_expiry_s: int | None = None
    """How long the broker keeps a session that is to be kept; None: an hour, with durable tags a day."""
    receive_maximum: int = 1_024
    topic_alias_maximum: int = 32
    packet_bytes_max: int | None = None
    """What the broker is told not to send; it drops such messages in silence."""
    follow_redirect: bool = False
    sparkplug: SparkplugHost = SparkplugHost()


class MqttLink(msgspec.Struct, frozen=True, kw_only=True):
    """One session with a broker, and one more for the tags that are durable."""

    name: str
    broker: BrokerAddress
    session: MqttSession = MqttSession()

    @property
    def place(self) -> str:
        return self.broker.described

    @property
    def kind(self) -> str:
        return "MQTT"

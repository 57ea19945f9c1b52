"""Settings of the uplinks: where records go, which, and how much may wait (see `gateway.settings.schema`).

An address is `described` in the words of `fieldgate check`; where an upstream speaks of it, it has a shorter `name`.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import msgspec

from gateway.core.calendar import UTC, Zone
from gateway.protocol.records.form import CANONICAL, Form
from gateway.settings.schema_brokers import BrokerAddress, LogIn


class NatsAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a NATS server with JetStream is and how to log in. Secrets are read when the session starts."""

    host: str
    port: int
    tls: bool = False
    ca_file: Path | None = None
    client_name: str
    username: str | None = None
    password_file: Path | None = None

    @property
    def described(self) -> str:
        return f"{'tls' if self.tls else 'nats'}://{self.host}:{self.port}"


class FileAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A file of JSON lines; at `rotate_bytes` it is renamed and a new one begun."""

    path: Path
    rotate_bytes: int

    @property
    def described(self) -> str:
        return str(self.path)


class ParquetAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A folder of Parquet files: one a stream each `rotate_every_ns`, or earlier when the log has `rotate_bytes`."""

    path: Path
    rotate_bytes: int
    rotate_every_ns: int
    room_bytes: int
    """What may lie in the folder; beyond it records wait."""

    @property
    def described(self) -> str:
        return str(self.path)


class HttpFormat(StrEnum):
    JSON = "json"
    """The record, in the uplink's encoding."""
    INFLUX = "influx"
    """InfluxDB line protocol."""


class HttpAddress(LogIn, frozen=True, kw_only=True):
    """Where records are POSTed, and in which format."""

    host: str
    port: int
    target: str
    """Path and query; `{stream}` stands for the stream's name."""
    position: str | None = None
    """Path and query that say what the server holds."""
    format: HttpFormat = HttpFormat.JSON
    gzip: bool = False
    token_file: Path | None = None

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def name(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.authority}"

    @property
    def described(self) -> str:
        return f"{self.name}{self.target} ({self.format.value})"


class Sasl(StrEnum):
    PLAIN = "plain"
    SCRAM_SHA_256 = "scram-sha-256"
    SCRAM_SHA_512 = "scram-sha-512"


class KafkaAddress(LogIn, frozen=True, kw_only=True):
    """Where a Kafka cluster is."""

    servers: tuple[str, ...]
    """Host and port of each broker that is asked for the others."""
    sasl: Sasl | None = None
    client_name: str
    """Also the transactional id, and the key of the position."""
    position_topic: str

    @property
    def name(self) -> str:
        return f"kafka{'s' if self.tls else ''}://{','.join(self.servers)}"

    @property
    def described(self) -> str:
        return self.name


class SparkplugAddress(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway as an edge node of Sparkplug B."""

    broker: BrokerAddress
    group: str
    edge: str
    primary_host: str | None = None
    """The host application for which records wait; None: for none."""

    @property
    def name(self) -> str:
        return f"{self.broker.name} as {self.group}/{self.edge}"

    @property
    def described(self) -> str:
        return f"{self.name} (Sparkplug B, MQTT {self.broker.version})"


UpstreamAddress: TypeAlias = (
    BrokerAddress | NatsAddress | KafkaAddress | FileAddress | ParquetAddress | HttpAddress | SparkplugAddress
)


class Hours(msgspec.Struct, frozen=True, kw_only=True):
    """A span of the local day in seconds, over midnight when it ends before it begins."""

    start_s: int
    end_s: int
    zone: Zone = UTC


class Uplink(msgspec.Struct, frozen=True, kw_only=True):
    """Where records go, which, and how much may wait."""

    name: str
    address: UpstreamAddress
    topic: str
    """Topic, or NATS subject; empty for a file. `{stream}` stands for the stream's name; the rest is filled in."""
    form: Form = CANONICAL
    """Encoding and compression of the records."""
    streams: tuple[str, ...]
    aggregates_every_ns: int
    samples_every_ns: int
    buffer_bytes_max: int
    """What may wait."""
    grace_ns: int
    """How long acknowledged records are kept, should the other end lose them all the same."""
    grace_bytes_max: int
    drain_records_per_s: int
    acknowledge_timeout_ns: int
    bandwidth_bytes_per_s: int = 0
    """What live records and the backlog may send together; 0: no limit."""
    drain_share: float = 0.25
    """The part of the bandwidth that the backlog gets in any case."""
    drain_between: Hours | None = None
    age_ns_max: int = 0
    """What has waited for longer is dropped; 0: nothing is."""
    free_disk_bytes_min: int = 0
    """Of the disk: when no more is free, nothing but events is recorded; 0: not looked at."""

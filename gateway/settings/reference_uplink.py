"""The reference's part on uplinks: where records go, which, and how much may wait."""

from __future__ import annotations

from gateway.settings import addresses, httpaddress, kafka, recordform, sparkplug, uplink
from gateway.settings.reference_brokers import CREDENTIAL, broker_keys
from gateway.settings.reference_key import NOTHING, Key
from gateway.settings.units import bandwidth, flag, hours, share, text


def _others(kind: str) -> str:
    *others, last = (f"`{other}`" for other in uplink.KINDS if other != kind)
    return f"{', '.join(others)} or {last}"


def _this_or_another(kind: str) -> str:
    return f"(this, {_others(kind)})"


UPLINK = (
    *broker_keys("uplink.NAME", "GATEWAY-uplink-NAME", _others("mqtt")),
    Key(
        "uplink.NAME.topic",
        addresses.topic,
        "(fieldgate/{gateway}/{stream})",
        "Topic of the records, of MQTT or Kafka (fieldgate.{gateway}.{stream}).",
    ),
    Key(
        "uplink.NAME.sparkplug",
        sparkplug.edge_node,
        "(records as they are)",
        "Over `mqtt`, be this edge node of Sparkplug B: samples are metrics of its devices, events one of its own.",
    ),
    Key(
        "uplink.NAME.primary_host",
        sparkplug.host_id,
        "(none)",
        "The host application of Sparkplug without which nothing is sent: records wait for it.",
    ),
    Key(
        "uplink.NAME.nats",
        addresses.nats_server,
        _this_or_another("nats"),
        "A NATS JetStream that takes the records.",
    ),
    Key("uplink.NAME.subject", addresses.subject, "(fieldgate.{gateway}.{stream})", "NATS subject of the records."),
    Key(
        "uplink.NAME.kafka",
        kafka.cluster,
        _this_or_another("kafka"),
        "A Kafka cluster that takes the records, in transactions. Needs fieldgate[kafka].",
    ),
    Key(
        "uplink.NAME.position_topic",
        kafka.position_topic,
        "(fieldgate.{gateway}.position)",
        "Kafka topic that says what the cluster holds: one partition, cleanup.policy=compact.",
    ),
    Key(
        "uplink.NAME.sasl",
        kafka.MECHANISM,
        "scram-sha-512",
        "How `username` logs in to Kafka. Without a user: not at all, or by `cert_file`.",
    ),
    Key(
        "uplink.NAME.http",
        httpaddress.url,
        _this_or_another("http"),
        "Where records are POSTed; {stream} in it is filled in.",
    ),
    Key(
        "uplink.NAME.format",
        httpaddress.FORMAT,
        "json",
        "What is POSTed: json, a record in its encoding with its identity as Idempotency-Key; influx, line protocol.",
    ),
    Key("uplink.NAME.gzip", flag, "(true for influx)", "Whether what is POSTed is compressed."),
    Key(
        "uplink.NAME.token_file",
        text,
        NOTHING,
        f"A file whose first line is the token that logs in by HTTP (Bearer, and Token for influx). {CREDENTIAL}",
    ),
    Key(
        "uplink.NAME.position",
        httpaddress.url,
        "(it is not asked)",
        "Where the HTTP server says at connect what it holds, which is then not sent again (README).",
    ),
    Key(
        "uplink.NAME.file",
        text,
        _this_or_another("file"),
        "A file of JSON lines that takes the records.",
    ),
    Key(
        "uplink.NAME.parquet",
        text,
        _this_or_another("parquet"),
        "A folder that takes them as Parquet files, one a stream and period. Needs pyarrow: fieldgate[parquet].",
    ),
    Key(
        "uplink.NAME.rotate",
        uplink.ROTATE,
        "256MB",
        "Size at which the file is put aside and a new one begun; of Parquet, size of the log that becomes files.",
    ),
    Key("uplink.NAME.rotate_every", uplink.ROTATE_EVERY, "1h", "Period of a Parquet file, from full hours on."),
    Key("uplink.NAME.room", uplink.ROOM, "10GB", "What the folder of Parquet may have; beyond it records wait."),
    Key(
        "uplink.NAME.encoding",
        recordform.ENCODING,
        "json",
        "Of the records, over MQTT, NATS, Kafka and HTTP. arrow needs pyarrow: fieldgate[arrow].",
    ),
    Key("uplink.NAME.compress", recordform.COMPRESSION, "none", "Of each record, there."),
    Key(
        "uplink.NAME.streams",
        uplink.STREAMS,
        '["events", "aggregates", "calculations", "multivariate"]',
        "What is sent. samples: every single one. Of Sparkplug B: events and samples.",
    ),
    Key("uplink.NAME.aggregates_every", uplink.PERIOD, "10s", "How often the windows are recorded."),
    Key("uplink.NAME.samples_every", uplink.PERIOD, "1s", "How often the samples that came are put into a record."),
    Key(
        "uplink.NAME.buffer",
        uplink.BUFFER,
        "2GB",
        "What may wait while the broker is away; then the oldest is dropped.",
    ),
    Key(
        "uplink.NAME.max_age",
        uplink.AGE,
        "(no limit)",
        "What has waited for longer is dropped, oldest first, and counted.",
    ),
    Key(
        "uplink.NAME.free_disk",
        uplink.FREE_DISK,
        "100MB",
        "Of the disk: when no more is free, events alone are recorded.",
    ),
    Key("uplink.NAME.drain", uplink.DRAIN, "200/s", "Pace of the backlog after an outage, in records, at the most."),
    Key("uplink.NAME.bandwidth", bandwidth, "(no limit)", "Of live records and backlog together, as they are sent."),
    Key("uplink.NAME.drain_share", share, "0.25", "The part of the bandwidth that the backlog gets in any case."),
    Key("uplink.NAME.drain_between", hours, "(the whole day)", "When the backlog may be sent, in local time."),
    Key(
        "uplink.NAME.grace",
        uplink.GRACE,
        "10min",
        "How long acknowledged records are kept, should they get lost there.",
    ),
    Key("uplink.NAME.grace_buffer", uplink.GRACE_BUFFER, "64MB", "How much of them is kept at the most."),
    Key(
        "uplink.NAME.acknowledge_timeout",
        uplink.ACKNOWLEDGE_TIMEOUT,
        "10s",
        "A session without one is given up; counted from when bytes left.",
    ),
)

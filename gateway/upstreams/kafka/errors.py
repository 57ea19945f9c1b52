"""What the errors of librdkafka and of brokers mean for an uplink: by their numbers, which the protocol has fixed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.ports import LinkDown
from gateway.core.types import NS_PER_S

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

TIMED_OUT: Final = -185
ALL_BROKERS_DOWN: Final = -187
TRANSPORT: Final = -195
RESOLVE: Final = -193
TLS: Final = -181
FENCED: Final = frozenset({-144, 90, 47})
"""_FENCED, PRODUCER_FENCED, INVALID_PRODUCER_EPOCH."""
ABOUT_THE_RECORD: Final = frozenset({10, 32, 87})
"""MSG_SIZE_TOO_LARGE, INVALID_TIMESTAMP, INVALID_RECORD."""
NO_TOPIC: Final = frozenset({3, 17, -188, -190})
"""UNKNOWN_TOPIC_OR_PART, TOPIC_EXCEPTION, _UNKNOWN_TOPIC, _UNKNOWN_PARTITION."""
NOT_ALLOWED: Final = frozenset({29, 30, 31, 53})
"""Topic, group, cluster and transactional id: not authorized."""
LOG_IN: Final = frozenset({-169, 33, 34, 58})
"""_AUTHENTICATION, and what a broker says of SASL."""
FENCED_RETRY_NS: Final = 30 * NS_PER_S
"""Two gateways of one name would otherwise shut one another out at every turn."""


class Names(NamedTuple):
    """`own`: of client, producer and position. `topic` with {stream} in it."""

    cluster: str
    own: str
    topic: str
    position_topic: str
    streams: tuple[str, ...]

    def topic_of(self, stream: str) -> str:
        return self.topic.replace("{stream}", stream)


HANDSHAKE: Final = "SSL_HANDSHAKE"
"""A broker that hangs up while it lasts is to librdkafka like any other; what it says names the state."""
TLS_REMEDY: Final = "check ca_file, that the certificate names this host, and that the port speaks TLS"


class Heard(logging.Handler):
    """What librdkafka logs of connections that fail: not all of it is an error that it tells."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if said.startswith("FAIL "):
            self.last = said.rpartition("]: ")[2]


def link_down(names: Names, error: KafkaError | None, heard: str = "") -> LinkDown:
    """A session's end for this reason, with what to do about it; None: nothing is known but what was heard."""
    cluster = names.cluster
    if error is None:
        remedy = "check that they run, and the route to them"
        if cluster.startswith("kafkas:"):
            remedy += "; cert_file, where they ask for a certificate"
        return LinkDown(f"{cluster}: no broker can be reached{f' ({heard})' if heard else ''}", remedy)
    code, said = error.code(), f"{cluster}: {error.str()}"
    if code in FENCED:
        return LinkDown(
            f"{cluster}: another producer took the name {names.own}, which shuts us out",
            "let no second gateway run with this gateway.id and uplink",
            retry_after_ns=FENCED_RETRY_NS,
        )
    if code in NO_TOPIC:
        return LinkDown(said, how_to_make_topics(names))
    if code in NOT_ALLOWED:
        return LinkDown(said, f"allow us to write to the topics, and the transactional id {names.own}")
    if code in LOG_IN:
        return LinkDown(said, "check username, password_file and sasl")
    if code == TLS or HANDSHAKE in said:
        return LinkDown(said, TLS_REMEDY)
    if code == RESOLVE:
        return LinkDown(said, "check the name of the host")
    return LinkDown(said, "check that the brokers run and listen on these ports, and the route to them")


def silent(names: Names, seconds: float) -> LinkDown:
    return LinkDown(
        f"{names.cluster}: no acknowledgement for {seconds:g} s",
        "check the brokers' load and the route to each of them, by the names that they advertise",
    )


def how_to_make_topics(names: Names) -> str:
    return (
        f"make {names.topic.replace('{stream}', 'STREAM')} for each stream, and kafka-topics.sh --create"
        f" --topic {names.position_topic} --partitions 1 --config cleanup.policy=compact"
    )

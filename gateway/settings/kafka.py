"""Kafka clusters that take records: where, and how to log in."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from gateway.settings.addresses import Broker, Endpoint, endpoint_of, is_local, topic
from gateway.settings.brokers import NOWHERE, Files, certificate_in, log_in
from gateway.settings.forms import matching, says
from gateway.settings.schema_uplink import KafkaAddress, Sasl
from gateway.settings.section import Section
from gateway.settings.units import WrongValueError, choice, show, text

PORT: Final = 9092
SERVERS_MAX: Final = 8
EXAMPLE: Final = '"kafka://broker.example:9092", or "kafkas://a.example:9093,b.example:9093" for TLS'
MECHANISM: Final = choice(Sasl)
DEFAULT_TOPIC: Final = "fieldgate.{gateway}.{stream}"
DEFAULT_POSITION_TOPIC: Final = "fieldgate.{gateway}.position"
_ADDRESS: Final = re.compile("kafka(s?)://([^/@?#]+)/?")
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")


class Cluster(NamedTuple):
    servers: tuple[Endpoint, ...]
    tls: bool


def cluster(value: object) -> Cluster:
    """`"kafka://host:9092,host:9092"`, or `"kafkas://..."`; ports may be left out."""
    word = text(value)
    if "@" in word:
        raise WrongValueError("has a user in its address; write username = and password_file = beside it")
    match = _ADDRESS.fullmatch(word)
    if match is None:
        raise WrongValueError(f"{show(word)} is not a Kafka cluster's address; write {EXAMPLE}")
    servers = tuple(endpoint_of(each.strip(), PORT, EXAMPLE) for each in match[2].split(","))
    if len(servers) > SERVERS_MAX:
        raise WrongValueError(f"names {len(servers)} brokers; write at most {SERVERS_MAX}, they tell of the others")
    return Cluster(servers, bool(match[1]))


def position_topic(value: object) -> str:
    word = text(value)
    if "{stream}" in word:
        raise WrongValueError("is one for all streams; take {stream} out")
    if not _TOPIC.fullmatch(word):
        raise WrongValueError(_no_topic(word))
    return word


def _no_topic(word: str) -> str:
    return f"{show(word)} is not a Kafka topic; write letters, digits, dots, - and _, like {DEFAULT_TOPIC}"


says(cluster, f"like {EXAMPLE}", matching("kafkas?://[^@/ ]+/?"))
says(position_topic, 'a topic, like "fieldgate.position"', matching("[A-Za-z0-9._-]+"))


def read_kafka(section: Section, client_name: str, gateway_id: str, files: Files) -> tuple[KafkaAddress, str]:
    """The cluster's address under `kafka` with the log-in beside it, and the topic of the records."""
    where = section.get("kafka", cluster, Cluster((NOWHERE,), tls=False))
    # A password in clear is warned of when one of them is elsewhere.
    first = next((each for each in where.servers if not is_local(each.host)), where.servers[0])
    who = log_in(section, Broker(first, where.tls), "kafka", "kafkas://", files)
    certificate = certificate_in(section, "kafka", where.tls, "kafkas://", files)
    has_user = section.has("username")
    sasl = section.get("sasl", MECHANISM, Sasl.SCRAM_SHA_512 if has_user else None)
    if has_user and who.password_file is None and section.is_sound("username", "password_file"):
        section.wrong("username", "needs a password; write password_file = as well")
    if sasl is not None and not has_user:
        section.wrong("sasl", "needs a user; write username = and password_file = as well")
    records = section.get("topic", topic, DEFAULT_TOPIC.replace("{gateway}", gateway_id))
    positions = section.get("position_topic", position_topic, DEFAULT_POSITION_TOPIC.replace("{gateway}", gateway_id))
    if not _TOPIC.fullmatch(records.replace("{stream}", "multivariate")) and section.is_sound("topic"):
        section.wrong("topic", _no_topic(records))
    if records == positions and section.is_sound("topic", "position_topic"):
        section.wrong("position_topic", "is that of the records; name one of its own")
    address = KafkaAddress(
        servers=tuple(map(str, where.servers)),
        tls=where.tls,
        **who._asdict(),
        **certificate._asdict(),
        sasl=sasl,
        client_name=client_name,
        position_topic=positions,
    )
    return address, records

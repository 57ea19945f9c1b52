"""Brokers: where one is, how to log in, and what is agreed with it for the session.

A secret never stands in the file itself: its key names a file, or as "credential:NAME" one of those that systemd hands
to the service (`LoadCredential=NAME:...`), which lie in $CREDENTIALS_DIRECTORY. Files are read when a session starts,
so that they can be exchanged under a running gateway.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from gateway.core.types import NS_PER_S
from gateway.settings.addresses import Broker, Endpoint, broker, is_local, nats_server, shared_group
from gateway.settings.schema import BrokerAddress, MqttSession, MqttVersion, NatsAddress, Retained
from gateway.settings.section import Section
from gateway.settings.sparkplug import read_host
from gateway.settings.units import choice, duration, flag, integer, size, text

NOWHERE = Endpoint("nowhere", 1)
"""Stand-in of an address that could not be read."""

MINUTE_NS = 60 * NS_PER_S
KEEP_ALIVE = duration(NS_PER_S, 18 * 60 * MINUTE_NS)
"""MQTT counts it in whole seconds of 16 bits."""
VERSION = choice(MqttVersion)
RETAINED = choice(Retained)
SESSION_EXPIRY = duration(0, 365 * 24 * 60 * MINUTE_NS)
RECEIVE_MAXIMUM = integer(1, 65_535)
ALIASES = integer(0, 1_024)
PACKET = size(1_024, 256 * 1024 * 1024)
MESSAGE = size(1_024, 16 * 1024 * 1024)
CLIENT_ID_MAX = 128
CREDENTIAL: Final = "credential:"
FILE: Final = "file:"

KINDS = 'write modbus_tcp = "10.0.0.5:502" or mqtt = "mqtt://broker.example:1883"'
LINK_ELSEWHERE = {
    "password": 'would put a secret into this file; write password_file = "..."',
    "host": f"is part of the address; {KINDS}",
    "port": f"is part of the address; {KINDS}",
    "unit": "belongs to the device, because one link serves many units; write it into [devices.NAME]",
}
V5_ONLY: Final = (
    "retained",
    "no_local",
    "retain_as_published",
    "session_expiry",
    "receive_maximum",
    "topic_alias_maximum",
    "packet_max",
    "follow_redirect",
)


class Files(NamedTuple):
    """Where paths in the file begin, and where systemd has put the service's credentials, if it has."""

    directory: Path
    credentials: Path | None


class Account(NamedTuple):
    """Who the gateway is at a server, and by which authorities it knows that."""

    username: str | None
    username_file: Path | None
    password_file: Path | None
    ca_file: Path | None


class Certificate(NamedTuple):
    cert_file: Path | None
    key_file: Path | None
    key_password_file: Path | None


def read_broker(section: Section, default_client_id: str, files: Files) -> BrokerAddress:
    """The broker's address under `mqtt`, and the log-in beside it."""
    address = section.get("mqtt", broker, Broker(NOWHERE, tls=False))
    who = log_in(section, address, "mqtt", "mqtts://", files)
    certificate = certificate_in(section, "mqtt", address.tls, "mqtts://", files)
    client_id = section.get("client_id", text, default_client_id)
    if len(client_id.encode()) > CLIENT_ID_MAX:
        section.wrong("client_id", f"is too long; write at most {CLIENT_ID_MAX} bytes")
    return BrokerAddress(
        host=address.endpoint.host,
        port=address.endpoint.port,
        tls=address.tls,
        **who._asdict(),
        **certificate._asdict(),
        version=section.get("version", VERSION, MqttVersion.V311),
        client_id=client_id,
        keep_alive_s=section.get("keep_alive", KEEP_ALIVE, 30 * NS_PER_S) // NS_PER_S,
    )


def certificate_in(section: Section, key: str, tls: bool, secure: str, files: Files) -> Certificate:
    """The client's certificate beside the address under `key`; `secure` is the scheme that has TLS."""
    cert_file = file_at(section, "cert_file", files)
    key_file = file_at(section, "key_file", files)
    key_password_file = file_at(section, "key_password_file", files)
    if cert_file is not None and not tls and section.is_sound(key):
        section.wrong("cert_file", f"has no use without TLS; write {secure} in the address, or take it out")
    if key_file is not None and cert_file is None and section.is_sound("cert_file"):
        section.wrong("key_file", "needs the certificate that it belongs to; write cert_file = as well")
    if key_password_file is not None and cert_file is None and section.is_sound("cert_file"):
        section.wrong("key_password_file", "opens the key of a certificate; write cert_file = as well")
    return Certificate(cert_file, key_file, key_password_file)


def read_session(section: Section, version: MqttVersion) -> MqttSession:
    """What a subscriber agrees with its broker."""
    expiry_ns = section.get("session_expiry", SESSION_EXPIRY, None)
    session = MqttSession(
        shared_group=section.get("shared_group", shared_group, None),
        message_bytes_max=section.get("message_max", MESSAGE, 128 * 1024),
        retained=section.get("retained", RETAINED, Retained.EACH),
        no_local=section.get("no_local", flag, False),
        retain_as_published=section.get("retain_as_published", flag, False),
        session_expiry_s=None if expiry_ns is None else expiry_ns // NS_PER_S,
        receive_maximum=section.get("receive_maximum", RECEIVE_MAXIMUM, 1_024),
        topic_alias_maximum=section.get("topic_alias_maximum", ALIASES, 32),
        packet_bytes_max=section.get("packet_max", PACKET, None),
        follow_redirect=section.get("follow_redirect", flag, False),
        sparkplug=read_host(section),
    )
    if version is not MqttVersion.V5 and section.is_sound("version"):
        for key in V5_ONLY:
            if key in section.content:
                section.wrong(key, 'is of MQTT 5; write version = "5", or take it out')
    if session.shared_group and session.no_local and section.is_sound("no_local"):
        section.wrong("no_local", "must not be used with shared subscriptions; take one of the two out")
    return session


def read_nats(section: Section, client_name: str, files: Files) -> NatsAddress:
    """The server's address under `nats`, and the log-in beside it."""
    address = section.get("nats", nats_server, Broker(NOWHERE, tls=False))
    who = log_in(section, address, "nats", "tls://", files)
    if who.username_file is not None:
        section.wrong("username", "is read from a file for MQTT only; write the name itself")
    return NatsAddress(
        host=address.endpoint.host,
        port=address.endpoint.port,
        tls=address.tls,
        ca_file=who.ca_file,
        client_name=client_name,
        username=who.username,
        password_file=who.password_file,
    )


def log_in(section: Section, address: Broker, key: str, secure: str, files: Files) -> Account:
    """User, password and trusted authorities; `secure` is the scheme that has TLS."""
    username = section.get("username", text, None)
    username_file = None
    if username is not None and username.startswith((CREDENTIAL, FILE)):
        username_file = _file_of(section, "username", username.removeprefix(FILE), files)
    password_file = file_at(section, "password_file", files)
    ca_file = file_at(section, "ca_file", files)
    if password_file is not None and username is None and section.is_sound("username"):
        section.wrong("password_file", "needs a user; write username = as well")
    if ca_file is not None and not address.tls and section.is_sound(key):
        section.wrong("ca_file", f"has no use without TLS; write {secure} in the address, or take it out")
    if password_file is not None and not address.tls and not is_local(address.endpoint.host):
        section.warn("password_file", f"the password crosses the network in clear; use {secure}")
    return Account(username if username_file is None else None, username_file, password_file, ca_file)


def file_at(section: Section, key: str, files: Files) -> Path | None:
    found = section.get(key, text, None)
    return None if found is None else _file_of(section, key, found, files)


def _file_of(section: Section, key: str, found: str, files: Files) -> Path | None:
    if not found.startswith(CREDENTIAL):
        file = files.directory / found
        if not file.is_file():
            section.warn(key, f"there is no file {file} on this machine yet")
        return file
    name = found.removeprefix(CREDENTIAL)
    if not name or "/" in name or name.startswith("."):
        section.wrong(key, f'"{found}" names no credential; write "{CREDENTIAL}NAME", and LoadCredential=NAME:/path')
        return None
    if files.credentials is None:
        section.warn(key, f"credential {name} is there in the service only, where systemd hands it over")
        return Path("/run/credentials/fieldgate.service") / name
    if not (files.credentials / name).is_file():
        section.warn(
            key, f"systemd has handed over no credential {name}; write LoadCredential={name}:/path in the unit"
        )
    return files.credentials / name

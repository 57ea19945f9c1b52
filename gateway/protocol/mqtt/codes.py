"""Packet types, limits and reason codes of MQTT, each code in plain words with what to check.

Sources: MQTT 3.1.1 (OASIS, 29 October 2014), sections 2.2 and 3.2.2.3; MQTT 5.0 (OASIS, 7 March 2019), section 2.4.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

V311: Final = 4
"""Protocol level of MQTT 3.1.1 in CONNECT."""
V5: Final = 5


class PacketType(IntEnum):
    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


FRAME_BYTES_MAX: Final = 131_072
"""Default of a session: a longer message is acknowledged, counted as unusable and skipped; any other packet is a
protocol error."""

REMAINING_LENGTH_MAX: Final = 268_435_455
"""The largest remaining length that four bytes can say."""

STRING_BYTES_MAX: Final = 65_535
FAILURE_MIN: Final = 0x80
"""Reason codes from here on are failures, in both versions."""


class ProtocolError(Exception):
    """The broker sent what MQTT does not allow. The connection cannot go on."""


CONNACK_V311: Final[dict[int, str]] = {
    1: "the broker does not speak MQTT 3.1.1; set version to 5",
    2: "the broker refuses this client id; check client_id",
    3: "the broker is not available at present; see the broker's log",
    4: "bad user name or password; check username and password_file",
    5: "not authorised; check username, password_file and the broker's access rules",
}

REASONS: Final[dict[int, str]] = {
    0x00: "normal disconnection; somebody ended the session on purpose, see the broker's log",
    0x04: "disconnected with will message; somebody ended the session on purpose, see the broker's log",
    0x80: "unspecified error; see the broker's log",
    0x81: "malformed packet; report it, with the versions of gateway and broker",
    0x82: "protocol error; report it, with the versions of gateway and broker",
    0x83: "the broker found the packet valid but does not accept it; see the broker's log",
    0x84: "the broker does not speak MQTT 5; set version to 3.1.1",
    0x85: "the broker refuses this client id; check client_id",
    0x86: "bad user name or password; check username and password_file",
    0x87: "not authorised; check username, password_file and the broker's access rules",
    0x88: "the broker is not available at present; see the broker's log",
    0x89: "the broker is busy; it is tried again, see its load",
    0x8A: "this client is banned by the broker; see the broker's rules",
    0x8B: "the broker is shutting down; it is tried again",
    0x8C: "the broker wants another authentication method; allow it user and password, or a client certificate",
    0x8D: "the broker heard nothing within the keep-alive time; check the network",
    0x8E: "another client connected with the same client id; give each client its own client_id",
    0x8F: "the topic filter is not valid; check topic, and which characters the broker allows",
    0x90: "the topic name is not valid; check topic, and which characters the broker allows",
    0x91: "the packet identifier is in use; report it, with the versions of gateway and broker",
    0x92: "the packet identifier is not known; report it, with the versions of gateway and broker",
    0x93: "more messages in flight than was agreed; lower receive_maximum",
    0x94: "the topic alias is not valid; set topic_alias_maximum to 0",
    0x95: "the packet is too large for the broker; see its packet size limit",
    0x96: "the message rate is too high for the broker; see its rate limit",
    0x97: "a quota of the broker is exhausted; see its limits",
    0x98: "an administrator closed the connection; ask who did, and why",
    0x99: "the payload is not in the format it claims; see what is published",
    0x9A: 'the broker keeps no retained messages; set retained to "never"',
    0x9B: "the broker does not offer this QoS; lower qos",
    0x9C: "this broker sends its clients to another server; set its address, or follow_redirect",
    0x9D: "this broker has moved; set the new address, or follow_redirect",
    0x9E: "the broker does not offer shared subscriptions; take shared_group out",
    0x9F: "the connection rate is too high for the broker; see its limits",
    0xA0: "the broker's longest connection time is over; it is connected again",
    0xA1: "the broker does not offer subscription identifiers; report it, none was asked for",
    0xA2: "the broker does not offer wildcard subscriptions; name each topic",
}
"""Every reason code that a broker may send: what it means; what to do."""

MOVED: Final = (0x9C, 0x9D)
"""Use another server; server moved."""
DISCONNECT_MALFORMED: Final = 0x81
DISCONNECT_PROTOCOL_ERROR: Final = 0x82
DISCONNECT_ALIAS_INVALID: Final = 0x94
DISCONNECT_TOO_LARGE: Final = 0x95


def reason_text(code: int) -> str:
    """A reason code of MQTT 5 (and the one failure code of a 3.1.1 SUBACK) in plain words."""
    return REASONS.get(code, f"reason code 0x{code:02x}, which MQTT does not define; see the broker's log")


def connack_text(code: int, version: int) -> str:
    """Why a broker refused a connection, in plain words."""
    if version == V5 and code >= FAILURE_MIN:
        return reason_text(code)
    # A broker that speaks only 3.1.1 answers a CONNECT of version 5 with a code of its own version.
    if version == V5 and code == 1:
        return reason_text(0x84)
    return CONNACK_V311.get(code, f"return code {code}, which MQTT 3.1.1 does not define; see the broker's log")

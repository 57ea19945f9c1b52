"""What the scanner and its caller share: the state of a stream, packets that are handed back, and what may be wrong."""

from __future__ import annotations

from typing import Final

import numpy as np

from gateway.protocol.mqtt.aliases import (
    BAD_ALIAS,
    BAD_IDENTIFIER,
    BAD_LENGTH,
    BAD_PING,
    BAD_PROPERTIES,
    BAD_PUBLISH,
    BAD_PUBREL,
    NO_TOPIC,
    NOT_GREETED,
    TOO_LONG,
)
from gateway.protocol.mqtt.codes import DISCONNECT_ALIAS_INVALID, DISCONNECT_MALFORMED, DISCONNECT_TOO_LARGE

HANDED = np.dtype(
    [("what", "<i8"), ("at", "<i8"), ("size", "<i8"), ("topic", "<i8"), ("flags", "<i8"), ("place", "<i8")], align=True
)
"""`at`, `size`: the payload (PAYLOAD, OVERSIZED), the body (CONTROL) or the topic's name (STRANGER) in the buffer; of a
message of Sparkplug (NAMESPACE), or of a topic that may be given a tag (NEWCOMER), all from the topic's name on,
`topic` then being how far the payload lies behind it times NAME_SIZES, plus the name's length. `flags`: the packet's
first byte, and CUT_OFF when the rest is skipped; `place`: how many of the call's samples come before it."""

CONTROL, PAYLOAD, OVERSIZED, STRANGER, NAMESPACE, NEWCOMER = 0, 1, 2, 3, 4, 5
NAME_SIZES: Final = 65_536
CUT_OFF: Final = 0x100

STRANGERS_MAX: Final = 64
"""Messages of unknown topics that are handed back in one connection; the others are only counted."""

# Fields of the state. The first group is set for each connection.
VERSION, GREETED, SKIP, STRANGERS = 0, 1, 2, 3
# Results of one call.
SAMPLES, HANDED_COUNT, ACK_BYTES, IS_FULL, ERROR = 4, 5, 6, 7, 8
# Counters, never reset.
MESSAGES, FAST, UNKNOWN_TOPIC, DUPLICATES, TIMES_REFUSED = 9, 10, 11, 12, 13
# Set once for a session: what is longer is skipped or, but for a PUBLISH, an error.
FRAME_BYTES: Final = 14
# 1 in a durable session: a message of QoS 1 that comes again counts once, where its payload tells it from the next one.
DURABLE: Final = 15
# Counters again: messages left out because they came before, and those that nothing tells from a repetition.
REPEATED, UNIDENTIFIED = 16, 17
# Set for each call: messages of QoS 0 of topics of lower priority are left out, and SHED counts them.
SHED_LEVEL, SHED = 18, 19
# Whether the call ended so that the caller takes what was handed back before anything behind it is looked at.
AWAITED: Final = 20
# Counters: readings whose name no tag has, and sums of SenML, which nothing is made of.
UNKNOWN_READINGS, SUMS = 21, 22
# Set once: 1 where topics that nobody named may be given a tag.
PATTERNS: Final = 23
# Set for each call: whether all messages of QoS 0 are left out once there is no room.
SHED_ALL: Final = 24
# Counters: what SHED counts, by priority.
SHED_OF: Final = (25, 26, 27)
STATE_FIELDS: Final = 28

ERRORS: Final[dict[int, str]] = {
    BAD_LENGTH: "a packet length of more than four bytes",
    BAD_PUBLISH: "a message that contradicts its own length or asks for QoS 3",
    NO_TOPIC: "a message without a topic and without an alias for one",
    BAD_IDENTIFIER: "a packet identifier of 0",
    BAD_PUBREL: "a PUBREL of wrong flags or length",
    BAD_PING: "a PINGRESP with something in it",
    TOO_LONG: "a control packet longer than any that is allowed here",
    NOT_GREETED: "something else than a CONNACK as its first packet, or a second CONNACK",
    BAD_ALIAS: "a topic alias beyond what was permitted, or one that it never gave a name",
    BAD_PROPERTIES: "a message with properties that MQTT does not define",
}
REASONS: Final[dict[int, int]] = {
    BAD_LENGTH: DISCONNECT_MALFORMED,
    BAD_PUBLISH: DISCONNECT_MALFORMED,
    BAD_PROPERTIES: DISCONNECT_MALFORMED,
    BAD_ALIAS: DISCONNECT_ALIAS_INVALID,
    TOO_LONG: DISCONNECT_TOO_LARGE,
}
"""The reason code of MQTT 5 that the broker is told, where it is not a plain protocol error."""

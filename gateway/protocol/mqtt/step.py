"""What one turn of a subscriber found."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.events import Event
from gateway.core.letters import Letter
from gateway.protocol.mqtt.codes import DISCONNECT_PROTOCOL_ERROR


@dataclass(slots=True)
class Step:
    """What one step found: packets for the session, bytes owed to the broker, changes of state."""

    acks: bytes
    is_full: bool
    """There is more to take in, now or as soon as the lane has room."""
    error: str | None
    """What the broker did wrong; the connection cannot go on."""
    error_code: int = DISCONNECT_PROTOCOL_ERROR
    """That as a reason code of MQTT 5."""
    control: list[tuple[int, bytes]] = field(default_factory=list)
    """(first byte, body) of packets for `codec.parse`."""
    strangers: list[bytes] = field(default_factory=list)
    """Topics that nobody asked for."""
    events: list[Event] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    """Payloads of which something could not be used; no more than STEP_LETTERS_MAX, the others are only counted."""

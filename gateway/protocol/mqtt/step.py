"""What one turn of a subscriber found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gateway.core.events import Emit, Event
from gateway.core.letters import LETTER_BYTES_MAX, Keep, Letter
from gateway.protocol.mqtt.codes import DISCONNECT_PROTOCOL_ERROR

STEP_LETTERS_MAX: Final = 16


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

    def tell(self, emit: Emit, keep: Keep) -> None:
        for event in self.events:
            emit(event)
        for letter in self.letters:
            keep(letter)

    def write(self, link: str, topic: str, payload: bytes, is_cut: bool, reason: str, arrival_ns: int) -> None:
        """A letter, unless there are enough. `is_cut`: not even the payload is whole."""
        if len(self.letters) < STEP_LETTERS_MAX:
            size = len(payload) + is_cut
            self.letters.append(Letter(link, topic, payload[:LETTER_BYTES_MAX], size, reason, arrival_ns))

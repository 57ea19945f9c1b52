"""A session with a broker that goes from one source to the next, when a reload changes tags of its link.

The old source stands still: it reads nothing more, and what the broker sends waits in the system's buffers. The new one
goes on with the same connection, asks for what is new or feeds other tags, and gives back what nothing names any more.
So the tags that did not change miss no message, and the broker sees no new client.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.protocol.mqtt.codec import Connack
from gateway.sources.mqtt.redirect import Redirects
from gateway.sources.mqtt.session import Session


@dataclass(frozen=True, slots=True)
class Handover:
    """`told` is what the broker did not give as asked, `connections` how many there were, `paused_ns` for how long
    reading was held back."""

    session: Session
    connack: Connack
    redirects: Redirects
    told: dict[str, str]
    connections: int
    paused_ns: int

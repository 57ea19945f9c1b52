"""The reference's part on brokers: sessions of links and of the uplink."""

from __future__ import annotations

from gateway.settings import addresses, brokers, sparkplug
from gateway.settings.reference_key import NOTHING, Key
from gateway.settings.units import flag, text

CREDENTIAL = 'Also "credential:NAME", of systemd.'


def broker_keys(at: str, client_id: str, instead: str) -> tuple[Key, ...]:
    """A session with an MQTT broker."""
    return (
        Key(
            f"{at}.mqtt",
            addresses.broker,
            f"(this or {instead})",
            "An MQTT broker, and where it is. TLS with mqtts://.",
        ),
        Key(f"{at}.version", brokers.VERSION, "3.1.1", "Version of MQTT that is spoken."),
        Key(f"{at}.client_id", text, f"({client_id})", "Who the session is. Two sessions with one id end each other."),
        Key(f"{at}.username", text, NOTHING, f'The user who logs in; "file:PATH": a file that says it. {CREDENTIAL}'),
        Key(f"{at}.password_file", text, NOTHING, f"A file whose first line is the password. {CREDENTIAL}"),
        Key(f"{at}.ca_file", text, "(the system's)", "Certificates of the authorities that are trusted. Needs TLS."),
        Key(f"{at}.cert_file", text, NOTHING, f"The client's certificate, by which it logs in. {CREDENTIAL}"),
        Key(f"{at}.key_file", text, "(in `cert_file`)", f"The key of that certificate. {CREDENTIAL}"),
        Key(f"{at}.key_password_file", text, NOTHING, f"A file whose first line opens the key. {CREDENTIAL}"),
        Key(f"{at}.keep_alive", brokers.KEEP_ALIVE, "30s", "A session without a sign of life for longer is given up."),
    )


SESSION_KEYS = (
    Key(
        "links.NAME.shared_group",
        addresses.shared_group,
        NOTHING,
        "Gateways that name the same group share the messages: each message goes to one of them.",
    ),
    Key("links.NAME.message_max", brokers.MESSAGE, "128KiB", "A longer message is skipped, counted and told."),
    Key(
        "links.NAME.retained",
        brokers.RETAINED,
        "each",
        "Retained messages come at each connection, only for a new subscription, or never. MQTT 5.",
    ),
    Key("links.NAME.no_local", flag, "false", "Leave out what this same client publishes. MQTT 5."),
    Key("links.NAME.retain_as_published", flag, "false", "Keep the retain flag as the publisher set it. MQTT 5."),
    Key(
        "links.NAME.session_expiry",
        brokers.SESSION_EXPIRY,
        "(1h; with durable tags 1d)",
        "How long the broker keeps our place, and what comes meanwhile for tags of QoS 1 and 2. MQTT 5.",
    ),
    Key(
        "links.NAME.receive_maximum",
        brokers.RECEIVE_MAXIMUM,
        "1024",
        "Messages of QoS 1 and 2 that the broker may send before the first is acknowledged. MQTT 5.",
    ),
    Key(
        "links.NAME.topic_alias_maximum",
        brokers.ALIASES,
        "32",
        "Topic names that the broker may replace by numbers. MQTT 5.",
    ),
    Key(
        "links.NAME.packet_max",
        brokers.PACKET,
        "(any length)",
        "The broker is told to send nothing longer; it drops such messages in silence. MQTT 5.",
    ),
    Key(
        "links.NAME.follow_redirect",
        flag,
        "false",
        "Whether to go where a broker sends us that has moved or is full. It is told in any case. MQTT 5.",
    ),
    Key(
        "links.NAME.sparkplug.host_id",
        sparkplug.host_id,
        NOTHING,
        "The gateway as a host application of Sparkplug B: the id under which it publishes its STATE.",
    ),
    Key(
        "links.NAME.sparkplug.reorder",
        sparkplug.REORDER,
        "2s",
        "How long a missing message of an edge node may take; then the node is asked for its births.",
    ),
)

"""The reference: every key of a configuration, what it means and what it is when it is left out.

What a key accepts is said by its parser's form, so it cannot differ from what is checked. A test reads configurations
and compares: every key that the loader asks for stands here, with the parser and the default that it asked with.
NAME and TAG in a path stand for any name. A default in brackets is a rule rather than a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.settings import (
    addresses,
    devices,
    including,
    journal,
    load,
    migrations,
    mqtttags,
    payloads,
    reads,
    serving,
    sparkplug,
    tags,
    zones,
)
from gateway.settings.forms import Form
from gateway.settings.reference_alarms import alarm_keys, multivariate_keys
from gateway.settings.reference_brokers import broker_keys
from gateway.settings.reference_calculations import calculation_keys
from gateway.settings.reference_control import CONTROL
from gateway.settings.reference_key import ANY, NOTHING, REQUIRED, Key
from gateway.settings.reference_links import EACH, LINKS
from gateway.settings.reference_reads import LIMIT_KEYS, POLLS, register_keys
from gateway.settings.reference_scada import SCADA
from gateway.settings.reference_topics import appearing_keys, topic_keys
from gateway.settings.reference_uplink import UPLINK
from gateway.settings.units import flag, label, name, number, text

LINK_OF_DEVICE = Form(
    "the name of a [links.NAME], or a link written inside: { modbus_tcp = ... } with the keys of links.NAME",
    {"anyOf": [{"type": "string"}, {"$ref": "#/definitions/link"}]},
)

GATEWAY = (
    Key("version", migrations.VERSIONS, "1", "By which version's keys the file is written; `fieldgate migrate`."),
    Key(
        "include",
        including.INCLUDES,
        "[]",
        "More files of this configuration, by name or pattern, relative to this one. No key may stand in two.",
    ),
    Key(
        "gateway.environment",
        including.ENVIRONMENT,
        "[]",
        "Environment variables that ${NAME} in a text stands for. Not for passwords: those are files.",
    ),
    Key("gateway.inhibit_writes", flag, "false", "Nothing is written to the plant: all loops run as shadows."),
    Key("gateway.id", name, REQUIRED, "Who this gateway is, in every record that goes upstream. Never change it."),
    Key(
        "gateway.state_dir",
        text,
        "(systemd's state directory, else `state` beside the file)",
        "Where records wait, and the clock's mark is kept. Relative to the file.",
    ),
    Key("gateway.log_level", load.LOG_LEVEL, "info", "What is logged: this and worse."),
    Key(
        "gateway.panes_per_window", load.PANES, "30", "In how many steps a window moves. More is smoother, and memory."
    ),
    Key("gateway.parking", load.PARKING, "256MB", "Room on disk for what tags remember that have left (see topics)."),
    Key("gateway.time_zone", zones.time_zone, "UTC", "Whose days, months and shifts calculations mean."),
    Key("gateway.flash_endurance", load.FLASH_ENDURANCE, "(not known)", "What the disk takes in its life (TBW)."),
    Key("gateway.checkpoint_every", journal.CHECKPOINT_EVERY, "1s", "How often the engine's state is put on disk."),
    Key("defaults.every", reads.EVERY, "1s", "How often Modbus tags are read that do not say so themselves."),
    Key("defaults.windows", tags.WINDOWS, '["1min"]', "Windows of tags that do not name their own."),
    Key(
        "defaults.stale_after",
        tags.STALE_AFTER,
        "(2s, by MQTT 30s; at least three times `every`)",
        "Age at which a value is marked stale.",
    ),
)


DEVICES = (
    Key("devices.NAME.each", EACH, NOTHING, "Makes one device for each value; {n} is replaced in every text inside."),
    Key("devices.NAME.link", LINK_OF_DEVICE, REQUIRED, "The connection that the device is behind."),
    Key("devices.NAME.unit", devices.UNIT, "1", "Its Modbus unit id."),
    Key(
        "devices.NAME.word_order", tags._is_big, "big", "Of 32 and 64 bit values: little when the low word comes first."
    ),
    Key(
        "devices.NAME.write_with",
        devices.WRITE_WITH,
        "single",
        "Functions: 5 and 6 for one coil or register; multiple: 15 and 16 always; read_write: 23, which reads back.",
    ),
    Key("devices.NAME.byte_order", tags._is_big, "big", "Inside each register."),
    Key(
        "devices.NAME.register_stride",
        devices.STRIDE,
        "0",
        "Registers from one instance of a template to the next: eight channels of one card are one table.",
    ),
    *LIMIT_KEYS,
    Key(
        "devices.NAME.topic",
        addresses.topic,
        NOTHING,
        "Topic of the tags that name none; {device} and {tag} stand in it.",
    ),
    Key(
        "devices.NAME.payload",
        payloads.PAYLOAD,
        "json",
        "What its messages hold: json (a number or one object), json-array (readings with names), senml, or struct.",
    ),
    Key("devices.NAME.reading.name", payloads.member, "name", "The member that has a reading's name, in a json-array."),
    Key("devices.NAME.reading.value", payloads.member, "value", "The member that has its value."),
    Key("devices.NAME.reading.time", payloads.member, "time", "The member that has its time, if it is there."),
    Key("devices.NAME.reading.quality", payloads.member, NOTHING, "The member that has its quality."),
    Key(
        "devices.NAME.time_format",
        payloads.TIME_FORMAT,
        "auto",
        "What times in payloads count from 1970 on: s, ms, us, ns; iso8601: a text; auto: told apart by magnitude.",
    ),
    *(
        Key(f"devices.NAME.quality.{word}", payloads.words, "(its name, and OPC's numbers)", f"What means {word}.")
        for word in ("good", "uncertain", "bad")
    ),
    Key(
        "devices.NAME.sparkplug",
        sparkplug.address,
        NOTHING,
        "Its place in Sparkplug B, instead of a topic: group, edge node and, unless it is the node itself, device.",
    ),
    Key("devices.NAME.tag_list", devices._tag_lists, NOTHING, "Lists of tags, shared with other devices."),
    *multivariate_keys("devices.NAME.multivariate"),
)


def output_keys(at: str) -> tuple[Key, ...]:
    """Of a tag of an mqtt link that a loop drives."""
    return (
        Key(
            f"{at}.write_topic",
            addresses.topic,
            "(nothing is written)",
            "Where the loop that drives the tag publishes its output, by MQTT; the tag itself tells the present one.",
        ),
        Key(f"{at}.write_payload", mqtttags.write_payload, '"{value}"', "What is published there."),
    )


def tag_keys(at: str) -> tuple[Key, ...]:
    """A tag, wherever it is written."""
    return (
        *register_keys(at),
        Key(
            f"{at}.formula",
            text,
            "(a source brings it)",
            'Computed from other tags, in place of a register or topic: "flow * pressure / 36".',
        ),
        Key(f"{at}.topic", addresses.topic, "(the device's)", "MQTT topic that carries it."),
        Key(
            f"{at}.field", addresses.field_path, "(the payload is the number)", "Where the value is in a JSON payload."
        ),
        Key(f"{at}.time_field", addresses.field_path, "(the time of arrival)", "Where its time is in a JSON payload."),
        Key(
            f"{at}.sequence_field",
            addresses.field_path,
            NOTHING,
            "Where a number of the reading is in a JSON payload, which tells it from its repetition (see `durable`).",
        ),
        Key(f"{at}.qos", tags.QOS, "0", "MQTT quality of service of the subscription."),
        Key(
            f"{at}.durable",
            flag,
            "false",
            "Acknowledged only once it is on disk, so that no crash loses one. Needs `qos` and [journal].",
        ),
        Key(f"{at}.priority", tags.PRIORITY, "normal", "Low: left out first, or read more seldom, under pressure."),
        Key(f"{at}.quality_field", addresses.field_path, "(good)", "Where its quality is in a JSON payload."),
        Key(f"{at}.name", payloads.member, "(the tag's name)", "Its name in arrays of readings and in SenML."),
        Key(
            f"{at}.bytes",
            payloads.byte_place,
            "(needed by structs)",
            "The first byte, the type, and big or little (the default), in a struct.",
        ),
        *output_keys(at),
        Key(f"{at}.metric", sparkplug.metric, "(the tag's name)", "Its name in the births of Sparkplug B."),
        Key(f"{at}.scale", number, "1.0", "value = scale · register + offset"),
        Key(f"{at}.offset", number, "0.0", "value = scale · register + offset"),
        Key(f"{at}.unit", label, '""', "Engineering unit, as it is shown."),
        Key(
            f"{at}.windows", tags.WINDOWS, "(as in [defaults])", "Rolling mean, deviation, min, max and rate over each."
        ),
        Key(f"{at}.stale_after", tags.STALE_AFTER, "(as in [defaults])", "Age at which the value is marked stale."),
        Key(f"{at}.valid.low", number, NOTHING, "Below it the quality is out of range, and no window takes the value."),
        Key(
            f"{at}.valid.high", number, NOTHING, "Above it the quality is out of range, and no window takes the value."
        ),
        *alarm_keys(f"{at}.alarm"),
        Key(
            f"{at}.shape",
            flag,
            "false",
            "true: its event score is also of waveforms. 9 kB; for up to 1,000 tags.",
        ),
        *calculation_keys(f"{at}.calculate.NAME"),
        Key(f"{at}.scada", flag, "true", "Whether the register map shows it."),
    )


JOURNAL = (
    Key("journal.keep", journal.KEEP, "1GB", "How many bytes of it are kept; then the oldest file is deleted."),
    Key("journal.keep_for", journal.KEEP_FOR, "7d", "How long it is kept, for fieldgate replay."),
    Key(
        "journal.commit_every",
        journal.COMMIT_EVERY,
        "50ms",
        "How often it is written to the disk. Records and durable acknowledgements wait for it.",
    ),
    Key("journal.leave_out", serving.TAG_GLOBS, "[]", "Tags whose samples are not written to it."),
)
WRITES = (
    Key("writes.local", flag, "true", "Whether `fieldgate write` may, as root or the gateway's own user."),
    Key(
        "writes.page",
        serving.TAG_GLOBS,
        "[]",
        "What operators may write by the page: tags, points of loops.",
    ),
    *broker_keys("writes.mqtt", "GATEWAY-writes", "[writes.mqtt] left out"),
    Key(
        "writes.mqtt.topic",
        addresses.topic,
        "(fieldgate/{gateway}/write/{tag})",
        "Topic of orders; {tag} stands for the tag's full name, as a level of its own.",
    ),
    Key("writes.mqtt.reply", addresses.topic, "(fieldgate/{gateway}/written/{tag})", "Topic of their results."),
    Key("writes.mqtt.loops", serving.WRITE_GLOBS, "[]", "Setpoints, modes and outputs of loops that may be written."),
    Key("writes.mqtt.tags", serving.TAG_GLOBS, '["*"]', "Which of the tags that may be written, this way."),
)
SERVING = (
    *SCADA,
    Key(
        "reference.NAME.file",
        text,
        REQUIRED,
        "A CSV or SQLite file (.db, .sqlite) of assets, limits, curves.",
    ),
    Key("reference.NAME.table", text, NOTHING, "The table in a SQLite file."),
    Key(
        "reload.trial",
        journal.TRIAL,
        "30s",
        "How long a reload is watched; if the plant does worse, it is undone. 0: never.",
    ),
    Key("history.keep", journal.HISTORY_KEEP, "500MB", "Bytes of history; then the oldest of the finest goes."),
    Key("http.listen", addresses.listen_endpoint, '"127.0.0.1:9464"', "Where metrics, health, page and API are."),
    Key(
        "http.users_file",
        text,
        NOTHING,
        "Who may log in, kept by `fieldgate user`. None: nobody logs in, and only this machine may be listened to.",
    ),
    Key("http.cert_file", text, NOTHING, "Certificate of the listener (PEM, with its chain): https from then on."),
    Key("http.key_file", text, NOTHING, "Its private key."),
    Key("http.metrics_clients", serving.NETWORKS, "[]", "Networks that may read /metrics without a log-in."),
    Key(
        "http.connections_per_client",
        serving.HTTP_PER_CLIENT,
        "16",
        "Of the 64 connections, those of one IPv4 address or IPv6 /64. A reverse proxy is one client: give it all.",
    ),
)

KEYS: tuple[Key, ...] = (
    *GATEWAY,
    *LINKS,
    *POLLS,
    *DEVICES,
    *tag_keys("devices.NAME.tags.TAG"),
    *tag_keys("tag_lists.NAME.TAG"),
    *topic_keys(LINK_OF_DEVICE),
    *appearing_keys("topics.NAME", tag_keys("topics.NAME")),
    *appearing_keys("topics.NAME.tags.TAG", tag_keys("topics.NAME.tags.TAG")),
    *CONTROL,
    *UPLINK,
    *JOURNAL,
    *WRITES,
    *SERVING,
)


def find(query: str) -> tuple[Key, ...]:
    """Keys that a path means: in full, with names of somebody's own; a table; or the end of a path."""
    asked = tuple(query.strip("[]").split("."))
    whole = tuple(key for key in KEYS if _fits(key.parts[: len(asked)], asked))
    return whole or tuple(key for key in KEYS if key.parts[-len(asked) :] == asked)


def _fits(parts: tuple[str, ...], asked: tuple[str, ...]) -> bool:
    return len(parts) == len(asked) and all(
        part in ANY or part == word for part, word in zip(parts, asked, strict=True)
    )


def json_schema() -> dict[str, object]:
    """JSON Schema (draft 7) of a configuration, for editors. Every table refuses keys that are not in it."""
    root = _table()
    for key in KEYS:
        if "KIND" not in key.parts:  # those stand in the form of each kind
            _put(root, key.parts, key)
    link = root["properties"]["links"]["additionalProperties"]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "fieldgate configuration",
        "definitions": {"link": link},
        **root,
    }


def _table() -> dict[str, Any]:
    return {"type": "object", "properties": {}, "additionalProperties": False}


def _put(table: dict[str, Any], parts: tuple[str, ...], key: Key) -> None:
    first, *rest = parts
    if not rest:
        table["properties"][first] = {**key.form.schema, "description": "\n".join(lines(key))}
        return
    if first in ANY:
        inner = table["additionalProperties"] = table["additionalProperties"] or _table()
    else:
        inner = table["properties"].setdefault(first, _table())
    _put(inner, tuple(rest), key)


def lines(key: Key) -> Iterator[str]:
    yield key.help
    yield f"Write {key.form.words}."
    if key.default == REQUIRED:
        yield "It must be written."
    elif key.default == NOTHING:
        yield "It may be left out."
    else:
        yield f"Default: {key.default.strip('()')}"

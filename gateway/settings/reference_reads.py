"""The reference of what Modbus tags say of their registers, and of when they are read."""

from __future__ import annotations

from gateway.settings import addresses, reads, shapes, tags, texts
from gateway.settings.reference_key import NOTHING, REQUIRED, Key
from gateway.settings.units import flag, number, positive, text

POLLS = (
    Key("polls.NAME.every", reads.EVERY, REQUIRED, "How often the tags of this poll group are read."),
    Key(
        "polls.NAME.phase",
        reads.PHASE,
        "(spread over the period)",
        "When in the period: on every link at the same moments of the gateway's own time.",
    ),
    Key("polls.NAME.jitter", reads.PHASE, "0s", "Each single read is due up to so much later, now more, now less."),
)
LIMIT_KEYS = (
    Key("devices.NAME.registers_per_read", reads.REGISTERS_PER_READ, "125", "Most registers that one read asks for."),
    Key("devices.NAME.bits_per_read", reads.BITS_PER_READ, "2000", "Most coils or discrete inputs of one read."),
    Key("devices.NAME.gap", reads.GAP, "8", "Unused registers that may be read along to save a read."),
    Key("devices.NAME.holes", reads.HOLES, "[]", "Addresses that no read may touch."),
)


def register_keys(at: str) -> tuple[Key, ...]:
    """Where a tag lies in a Modbus device, and how."""
    return (
        Key(f"{at}.register", addresses.register, "(needed by Modbus)", "Where it lies. Addresses count from 0."),
        Key(
            f"{at}.type",
            shapes.register_type,
            "(uint16; bool in coils and discrete inputs)",
            "How the registers are read. By MQTT: float64 (the default), int64, uint64 or string.",
        ),
        Key(f"{at}.bits", addresses.bits, "(the whole value)", "The part of it that is the value, 0 the lowest bit."),
        Key(
            f"{at}.not_available",
            addresses.patterns,
            NOTHING,
            "Contents that mean that the device has no value: quality sensor fault.",
        ),
        Key(
            f"{at}.labels", texts.labels, NOTHING, "What the values of a whole number are called, wherever it is shown."
        ),
        Key(f"{at}.registers", texts.TEXT_REGISTERS, "(needed by texts)", "How many registers a text has."),
        Key(
            f"{at}.encoding", texts.ENCODING, "utf-8", "How the characters of a text lie there; utf-16: one a register."
        ),
        Key(
            f"{at}.padding",
            texts.PADDING,
            "any",
            "What stands behind a text: nul (and anything), space, none; any: both of the first two.",
        ),
        Key(f"{at}.clamp.low", number, NOTHING, "What is below is set to it, with good quality."),
        Key(f"{at}.clamp.high", number, NOTHING, "What is above is set to it, with good quality."),
        Key(f"{at}.report.change", positive, "(any change)", "Readings that differ by no more are not passed on."),
        Key(f"{at}.report.percent", positive, NOTHING, "The same, in percent of the last value passed on."),
        Key(f"{at}.report.hold", shapes.HOLD, "0s", "Nothing is passed on sooner after the last one."),
        Key(f"{at}.report.heartbeat", shapes.HEARTBEAT, "(half of `stale_after`)", "Passed on then, changed or not."),
        Key(
            f"{at}.every", reads.EVERY, "(as in [defaults])", "How often it is read; a formula: computed, at the most."
        ),
        Key(f"{at}.poll", text, NOTHING, "The poll group [polls.NAME] that says when it is read, in place of `every`."),
        Key(f"{at}.write", flag, "false", "Whether it may be written, and a loop may drive it."),
        Key(f"{at}.verify", flag, "false", "Whether what was written is read back."),
        Key(f"{at}.word_order", tags._is_big, "(the device's)", "Where it differs from its device."),
        Key(f"{at}.byte_order", tags._is_big, "(the device's)", "Where it differs from its device."),
    )

"""Who the normative statements of Sparkplug 3.0.0 speak to: which are a host application's, and why the others are not.

`sparkplug-3.0.0.txt` has the identifier of every statement, in the order of the specification. Those of HOST bind the
gateway, and each is named by a test. The rest binds others; where the gateway relies on them, tests name them too.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).parent / "sparkplug-3.0.0.txt"
TOKEN: Final = re.compile(r"tck-id(?:-[A-Za-z0-9]+)+|(?<=\s)-[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*")

_BINDING: Final = """
conformance-primary-host intro-sparkplug-host-state principles-birth-certificates-order components-ph-state
topic-structure topic-structure-namespace-a topic-structure-namespace-device-id-non-associated-message-types
topics-ncmd-topic topics-ncmd-mqtt topics-ncmd-timestamp topics-ncmd-payload
host-topic-phid-birth-message host-topic-phid-birth-qos host-topic-phid-birth-retain host-topic-phid-birth-topic
host-topic-phid-birth-sub-required host-topic-phid-birth-required host-topic-phid-birth-payload
host-topic-phid-birth-payload-timestamp
host-topic-phid-death-qos host-topic-phid-death-retain host-topic-phid-death-topic host-topic-phid-death-required
host-topic-phid-death-payload host-topic-phid-death-payload-timestamp-connect
host-topic-phid-death-payload-timestamp-disconnect-clean
message-flow-phid-sparkplug-clean-session-311 message-flow-phid-sparkplug-clean-session-50
message-flow-phid-sparkplug-subscription message-flow-phid-sparkplug-state-publish
message-flow-phid-sparkplug-state-publish-payload message-flow-phid-sparkplug-state-publish-payload-timestamp
message-flow-hid-sparkplug-state-message-delivered
operational-behavior-edge-node-termination-host-action-ndeath-node-offline
operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale
operational-behavior-edge-node-termination-host-action-ndeath-devices-offline
operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale
operational-behavior-edge-node-termination-host-action-ddeath-devices-offline
operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale
operational-behavior-host-reordering-param operational-behavior-host-reordering-start
operational-behavior-host-reordering-rebirth operational-behavior-host-reordering-success
operational-behavior-primary-application-state-with-multiple-servers-state
operational-behavior-host-application-connect-will operational-behavior-host-application-connect-will-topic
operational-behavior-host-application-connect-will-payload operational-behavior-host-application-connect-will-qos
operational-behavior-host-application-connect-will-retained
operational-behavior-host-application-connect-birth operational-behavior-host-application-connect-birth-topic
operational-behavior-host-application-connect-birth-payload operational-behavior-host-application-connect-birth-qos
operational-behavior-host-application-connect-birth-retained
operational-behavior-host-application-multi-server-timestamp operational-behavior-host-application-termination
operational-behavior-host-application-death-topic operational-behavior-host-application-death-payload
operational-behavior-host-application-death-qos operational-behavior-host-application-death-retained
operational-behavior-host-application-disconnect-intentional
operational-behavior-data-commands-ncmd-rebirth-verb operational-behavior-data-commands-ncmd-rebirth-name
operational-behavior-data-commands-ncmd-rebirth-value operational-behavior-data-commands-ncmd-verb
operational-behavior-data-commands-ncmd-metric-name operational-behavior-data-commands-ncmd-metric-value
payloads-timestamp-in-UTC payloads-name-cmd-requirement
payloads-ncmd-timestamp payloads-ncmd-seq payloads-ncmd-qos payloads-ncmd-retain
payloads-state-will-message payloads-state-will-message-qos payloads-state-will-message-retain
payloads-state-will-message-payload payloads-state-subscribe payloads-state-birth payloads-state-birth-payload
"""
HOST: Final = tuple(f"tck-id-{name}" for name in _BINDING.split())

EDGE: Final = "binds edge nodes, which send it"
SERVER: Final = "binds MQTT servers"
PLANT: Final = "binds whoever gives out the names of a plant"
SHAPE: Final = "binds edge nodes, which encode it; a host reads what is there"
NO_DEVICE_COMMANDS: Final = "the gateway sends no DCMD: outputs are not written by Sparkplug"

ELSEWHERE: Final[tuple[tuple[str, str], ...]] = (
    ("conformance-mqtt-", SERVER),
    ("intro-edge-node-id-uniqueness", PLANT),
    ("intro-group-id-", PLANT),
    ("intro-edge-node-id-", PLANT),
    ("intro-device-id-", PLANT),
    ("principles-", EDGE),
    ("topic-structure-namespace-", PLANT),
    ("topics-dcmd-", NO_DEVICE_COMMANDS),
    ("topics-", EDGE),
    ("host-topic-phid-death-payload-timestamp-disconnect-with-no-disconnect-packet",
     "the gateway always ends with a DISCONNECT packet when it means to"),
    ("case-sensitivity-", PLANT),
    ("message-flow-", EDGE),
    ("operational-behavior-edge-node-", EDGE),
    ("operational-behavior-device-", EDGE),
    ("operational-behavior-primary-application-state-with-multiple-servers-", "binds edge nodes and whoever sets "
     "them up with several servers; the gateway publishes its STATE on each link that names a host"),
    ("operational-behavior-host-application-host-id", PLANT),
    ("operational-behavior-data-publish-", EDGE),
    ("operational-behavior-data-commands-rebirth-", EDGE),
    ("operational-behavior-data-commands-dcmd-", NO_DEVICE_COMMANDS),
    ("payloads-dcmd-", NO_DEVICE_COMMANDS),
    ("payloads-", SHAPE),
)  # fmt: skip
"""Beginnings of identifiers, and why they do not bind the gateway; the first that fits holds."""


def statements() -> list[str]:
    return FILE.read_text(encoding="utf-8").split()


def reason(statement: str) -> str | None:
    """Why this one does not bind the gateway; None when it does, or when nobody has said."""
    if statement in HOST:
        return None
    return next((why for begin, why in ELSEWHERE if statement.startswith(f"tck-id-{begin}")), None)


def named_by_tests(file: Path) -> set[str]:
    """The statements that the strings of a file of tests name."""
    strings = (node.value for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Constant))
    return set().union(*(named_in(text) for text in strings if isinstance(text, str) and "tck-id-" in text))


def named_in(text: str) -> set[str]:
    """The statements that a text names, also as `tck-id-a-b-c, -d`: what begins like the last and ends so."""
    known = statements()
    found: set[str] = set()
    last = ""
    for token in TOKEN.findall(text):
        if token in known:
            last = token
        elif token.startswith("-") and last:
            stem = last
            while stem and f"{stem}{token}" not in known:
                stem = stem.rpartition("-")[0]
            assert stem, f"{token} behind {last} is no statement"
            last = f"{stem}{token}"
        else:
            raise AssertionError(f"{token} is no statement")
        found.add(last)
    return found

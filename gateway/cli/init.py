"""`fieldgate init`: a first configuration, by some questions, or from what a scan finds."""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

import click

from gateway.cli.app import EXIT_FAILED
from gateway.cli.common import write_or_exit
from gateway.settings.load import examine
from gateway.settings.migrations import PRESENT
from gateway.settings.problems import ConfigurationError
from gateway.settings.units import WrongValueError, name

HEAD = """\
# {id}: a first configuration, by fieldgate init
#
# Check it:  fieldgate check {file}
# Run it:    fieldgate run --config {file}
# Any key:   fieldgate explain KEY
# Who they are, and which registers they have:  fieldgate scan ADDRESS

version = {version}                              # of the keys: a later fieldgate understands older ones

[gateway]
id = "{id}"                     # who this is, in every record that goes upstream: never change it
"""
MODBUS = """
# ---- Devices: one table for each, one line for each value.
# "holding 100" counts from 0, as the protocol does; "40101" is the same register as Modicon wrote it.

[links.plc]
modbus_tcp = "{modbus}"

[devices.plc]
link = "plc"
unit = {unit}
{tags}"""
TAGS = """tags.first = { register = "holding 0" }
# tags.temperature = { register = "holding 100", type = "float32", unit = "°C", every = "100ms", alarm = { high = 90 } }
# tags.pump = { register = "coil 3" }
"""
TAG_LIST = 'tag_list = "{tag_list}"     # a register map that comes along; fieldgate check says what it has\n'
SENSORS = """
# ---- Sensors that speak by MQTT

[links.floor]
mqtt = "{mqtt}"
# username = "gateway"
# password_file = "secrets/floor"         # or systemd's LoadCredential=

[devices.sensor]
link = "floor"
tags.temperature = {{ topic = "{topic}", unit = "°C" }}
"""
UPLINK = """
# ---- Upstream: what is there is delivered once, and held on disk while the link is down

[uplink.cloud]
mqtt = "{uplink}"
streams = ["events", "aggregates"]     # and "samples": every single one
buffer = "1GB"
# username = "{id}"
# password_file = "secrets/cloud"
# ca_file = "secrets/ca.pem"
"""
SCADA = """
# ---- SCADA reads it as Modbus registers: fieldgate registers {file}

[scada]
modbus_tcp = "{scada}"
# clients = ["10.0.0.0/24"]              # who may connect; default: everybody who reaches that address
# write = ["control.boiler.setpoint"]   # nothing may be written unless it stands here
"""
HTTP = """
# ---- Metrics, health and the live page: http://{http}

[http]
listen = "{http}"
"""
ASKED = (
    ("modbus", "Modbus TCP device, as host:port", "127.0.0.1:502"),
    ("mqtt", "MQTT broker with sensors, like mqtt://10.0.0.9:1883", ""),
    ("uplink", "Upstream broker, like mqtts://broker.example:8883", ""),
    ("scada", "Address on which SCADA reads it, like 0.0.0.0:1502", ""),
    ("http", "Address of page and metrics", "127.0.0.1:9464"),
)
"""What is asked, unless an option says it. Nothing, or -, leaves it out."""
SHIPPED = "fieldgate:"


@click.command(name="init")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--id", "gateway_id", help="Who this gateway is.")
@click.option("--modbus", metavar="HOST:PORT", help="A Modbus TCP device.")
@click.option("--unit", type=click.IntRange(0, 255), default=1, show_default=True, help="Its unit id.")
@click.option("--tag-list", metavar="NAME", help="A register map that comes along, like abb_b23.")
@click.option("--mqtt", metavar="URL", help="A broker with sensors.")
@click.option("--topic", default="plant/sensor/temperature", show_default=True, help="The topic of one of them.")
@click.option("--uplink", metavar="URL", help="The broker that records go to.")
@click.option("--scada", metavar="HOST:PORT", help="Where SCADA reads registers.")
@click.option("--http", metavar="HOST:PORT", help="Where page and metrics are.")
@click.option("--yes", is_flag=True, help="Ask nothing: what no option says is left out, but for the page.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    file: Path, gateway_id: str | None, unit: int, tag_list: str | None, topic: str, yes: bool, as_json: bool,
    **given: str | None,
) -> None:  # fmt: skip
    """Write FILE, a commented first configuration, by asking a few questions.

    Each question has an option that answers it. With devices on the network, `fieldgate scan ADDRESS --write FILE`
    writes one from what it finds there.
    """
    if file.exists():
        raise click.UsageError(f"{file} is there already; name another file, or move it away")
    proposed = re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname()).strip("-")[:32] or "gateway"
    asked: dict[str, Any] = {"id": gateway_id or (proposed if yes else _ask("Name of this gateway", proposed))}
    try:
        name(asked["id"])
    except WrongValueError as wrong:
        raise click.BadParameter(str(wrong), param_hint="--id") from None
    for key, question, default in ASKED:
        value = given[key]
        if value is None:
            value = (default if key == "http" else "") if yes else _ask(question, default)
        asked[key] = "" if value == "-" else value
    text = written(asked, file=file.name, unit=unit, tag_list=tag_list, topic=topic)
    write_or_exit(file, text)
    try:
        examined = examine(file)
    except ConfigurationError as error:
        file.unlink()
        for problem in error.problems:
            click.echo(f"{problem.key}: {problem.message}", err=True)
        click.echo(f"{file} is not written: say these again", err=True)
        sys.exit(EXIT_FAILED)
    tags = len(examined.settings.tags)
    if as_json:
        click.echo(json.dumps({"file": str(file), "gateway": asked["id"], "tags": tags}, indent=1))
    else:
        click.echo(f"{file} is written, with {tags} tags. Look through it, then:")
        click.echo(f"  fieldgate check {file}\n  fieldgate run --config {file}")


def _ask(question: str, default: str) -> str:
    answer: str = click.prompt(question, default=default, show_default=bool(default), err=True)
    return answer.strip()


def written(asked: dict[str, str], *, file: str, unit: int, tag_list: str | None, topic: str) -> str:
    """The file's text."""
    words = {key: _quoted(value) for key, value in {**asked, "file": file, "topic": topic}.items()}
    parts = [HEAD.format(version=PRESENT, **words)]
    if asked["modbus"]:
        listed = SHIPPED + (tag_list or "").removeprefix(SHIPPED)
        tags = TAG_LIST.format(tag_list=_quoted(listed)) if tag_list else TAGS
        parts.append(MODBUS.format(unit=unit, tags=tags, **words))
    for key, part in (("mqtt", SENSORS), ("uplink", UPLINK), ("scada", SCADA), ("http", HTTP)):
        if asked[key]:
            parts.append(part.format(**words))
    return "".join(parts)


def _quoted(word: str) -> str:
    """As it may stand between quotes in TOML, and in a comment."""
    return json.dumps(word, ensure_ascii=False)[1:-1]

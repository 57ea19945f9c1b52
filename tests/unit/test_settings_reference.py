"""The reference against the loader: every key, with the parser and the default that the loader asks with."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.settings.discovery import NOT_HERE
from gateway.settings.document import TomlPlace
from gateway.settings.forms import Form
from gateway.settings.load import examine
from gateway.settings.reference import KEYS, find, json_schema
from gateway.settings.reference_key import NOTHING, REQUIRED
from gateway.settings.section import Section
from tests.support.settings import EXAMPLE, HEAD, LOOP, examine_text

LEVEL = """
[AT]
register = "holding 22"
windows = ["10s"]
[AT.alarm]
low_low = 1
low = 2
high = 8
high_high = 9
rate = 1
state = 5
bad = true
score = 0.5
persistent = 0.5
deviation = 3
[AT.calculate.all]
of = ["mean"]
every = "1h"
[AT_b]
register = "holding 23"
[AT_b.alarm.high]
limit = 3
"""
SHARED_LISTS = (
    LEVEL.replace("AT", "tag_lists.full.level")
    + LEVEL.replace("AT", "devices.d.tags.level")
    + """
[links.ascii]
modbus_ascii = "/dev/ttyS0"
[tag_lists.full]
pressure = { register = "holding 20", valid = { low = 0 }, alarm = { high = 9, deadband = 1 } }
flow = { register = "holding 21", clamp = { low = 0 }, report = { change = 1 } }
double = { formula = "2 * flow" }
[tag_lists.sensors]
light = {}
[devices.d.tags.sum]
formula = "level + pv"
[devices.e]
link = "plc"
tag_list = "full"
[devices.f]
link = "floor"
topic = "plant/{device}/{tag}"
tag_list = "sensors"
"""
)
OTHER_UPLINKS = (
    'nats = "nats://127.0.0.1"',
    'kafka = "kafka://127.0.0.1"\nusername = "u"\npassword_file = "p"',
    'file = "records.jsonl"',
    'parquet = "archive"',
    'mqtt = "mqtt://b"\nsparkplug = "plant/edge"\nprimary_host = "scada-1"',
    'http = "http://127.0.0.1/records"\nposition = "http://127.0.0.1/position"',
)
ALARMS = "low_low = 1, low = 2, high = 3, high_high = 4, rate = 5, state = 6, bad = true, deviation = 7"
APPEARING = f"""
[topics.t]
link = "floor"
match = "a/{{device}}/{{tag}}"
alarm = {{ {ALARMS}, score = 0.5, persistent = 0.5 }}
tags.y.alarm = {{ {ALARMS}, score = 0.5, persistent = 0.5 }}
tags.x.alarm.high = {{ limit = 3, of = "mean 1min" }}
tags.x.alarm.deviation = {{ limit = 3, from = "d.pv" }}
[topics.u]
link = "floor"
match = "b/{{device}}/{{tag}}"
alarm.high = {{ limit = 3, of = "mean 1min" }}
alarm.deviation = {{ limit = 3, from = "d.pv" }}
"""
REFERENCE = '[reference.r]\nfile = "gateway.toml"\n'
SERVING = """
[history]
[scada]
modbus_tls = { ca_file = "ca", cert_file = "crt" }
modbus_rtu = { port = "/dev/ttyS1", rs485 = {} }
[http]
[uplink.u]
mqtt = "mqtt://127.0.0.1"
"""
FAR_ENDS = {
    "nats": '[uplink.u]\nnats = "tls://nats.example"\nsubject = "plant.{stream}"\n',
    "kafka": '[uplink.u]\nkafka = "kafkas://a,b:9093"\ntopic = "p.{stream}"\nposition_topic = "p"\n'
    'username = "u"\npassword_file = "p"\nsasl = "plain"\n',
    "file": '[uplink.u]\nfile = "records.jsonl"\nrotate = "1GB"\n',
    "parquet": '[uplink.u]\nparquet = "archive"\nrotate = "64MB"\nrotate_every = "10min"\nroom = "5GB"\n',
    "sparkplug": '[uplink.u]\nmqtt = "mqtt://b"\nsparkplug = "plant/edge"\nprimary_host = "scada-1"\n',
    "http": '[uplink.u]\nhttp = "https://b/write?precision=ns"\nformat = "influx"\ngzip = false\ntoken_file = "t"\n',
}
BY_PATH = {key.path: key for key in KEYS}
LOOPS = """
[blocks]
x.scale = { of = "d.pv" }
x2.sum = { of = ["d.pv", 3] }
x3.product = { of = ["d.pv"] }
x4.minimum = { of = ["d.pv"] }
x5.maximum = { of = ["d.pv"] }
x6.median = { of = ["d.pv"] }
x7.mean = { of = ["d.pv"] }
x8.first = { of = ["d.pv"] }
x9.lead_lag = { of = "d.pv", lag = "1s" }
y.deadband = { of = "d.pv", band = 1 }
y1.rate_limit = { of = "d.pv", up = 1 }
y2.profile = { run = "d.bit", hold = 0, points = [["0s", 1], ["1s", 2]] }
y3.curve = { of = "d.pv", points = [[0, 1], [1, 2]] }
y4.on_off = { of = "d.pv", on_at = 1, off_at = 2 }
y5.compare = { of = "d.pv", above = 1 }
y6.compare = { of = "d.pv", below = 1 }
y7.all = { of = ["d.bit"] }
y8.any = { of = ["d.bit"] }
y9.none = { of = ["d.bit", "d.pv < 4"] }
z.latch = { set = "d.bit", reset = "d.pv > 3" }
z1.timer = { of = "d.bit" }
z2.sequence = { run = "d.bit", steps = [{ until = "d.bit", within = "1s" }] }
z3.choose = { by = "d.bit", values = [1, "d.pv"] }
z4.counter = {}
[control.s]
follow = { input = "blocks.x6", output = "signal" }
limits = { min = 0, max = 1 }
failsafe = { output = 0 }
interlocks = [{ when = "d.bit", output = 0 }]
[control.p]
pid = { input = "d.pv", output = "signal", setpoint = 1, form = "parallel", kp = 1, ki = 1, kd = 1 }
limits = { min = 0, max = 1 }
failsafe = { output = 0 }
[control.g]
limits = { min = 0, max = 1 }
failsafe = { output = 0 }
[control.g.pid]
input = "d.pv"
output = "signal"
setpoint = 1
gains = { by = "d.pv", points = [{ at = 0, kp = 1 }, { at = 1, kp = 2 }] }
"""
GROUPS = {"reference", "links", "polls", "devices", "control", "blocks", "uplink", "tag_lists", "topics"}
WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|([^."]+)')


def pattern(place: str) -> str:
    """A key's place in a file as its path in the reference."""
    parts = [quoted or bare for quoted, bare in WORD.findall(place)]
    if parts[0] in GROUPS:
        parts[1] = "NAME"
    if parts[0] in ("devices", "topics") and parts[2] == "tags":
        parts[3] = "TAG"
    if parts[0] == "devices" and parts[2] == "link" and len(parts) > 3:
        parts = ["links", "NAME", *parts[3:]]
    if parts[0] == "topics" and len(parts) > 2:
        at = 4 if parts[2] == "tags" and len(parts) > 4 else 2
        if parts[at] in NOT_HERE or (at == 4 and parts[at] == "windows"):
            parts = ["devices", "NAME", "tags", "TAG", *parts[at:]]
    if parts[0] == "tag_lists":
        parts[2] = "TAG"
    if len(parts) > 2 and parts[-3] == "calculate":
        parts[-2] = "NAME"
    if len(parts) > 2 and parts[-3] == "alarm":
        parts[-2] = "KIND"
    return ".".join(parts)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Any, Any]]]:
    """Path → parser and default, of everything that the loader asked for in a few configurations."""
    found: dict[str, tuple[Any, Any]] = {}
    get = Section.get

    def noting(section: Section, key: str, parse: Any, default: Any) -> Any:
        if isinstance(section.place, TomlPlace):
            found[pattern(section.place.child(key).key)] = (parse, default)
        return get(section, key, parse, default)

    texts = [
        HEAD + LOOP + SHARED_LISTS + LOOPS + SERVING + REFERENCE,
        HEAD + LOOP + APPEARING,
        *(f"{HEAD}[uplink.u]\n{where}\n" for where in OTHER_UPLINKS),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Section, "get", noting)
        examine(EXAMPLE)
        for text in texts:
            examine_text(tmp_path_factory.mktemp("small"), text)
    yield found


def test_every_key_that_is_read_is_documented(asked: dict[str, tuple[Any, Any]]) -> None:
    undocumented = {path for path in asked if path not in BY_PATH and not path.startswith("scada.units.")}
    assert not undocumented, "add a Key to gateway/settings/reference.py"


def test_nothing_is_documented_that_is_not_read(asked: dict[str, tuple[Any, Any]]) -> None:
    tables = {"scada.units"}
    assert set(BY_PATH) - set(asked) - tables == set()


def test_what_is_documented_is_what_is_checked(asked: dict[str, tuple[Any, Any]]) -> None:
    for path, (parse, _) in asked.items():
        key = BY_PATH.get(path)
        if key is not None and not isinstance(key.accepts, Form):
            assert key.accepts is parse, path


def as_written(default: str) -> object:
    try:
        return json.loads(default)
    except json.JSONDecodeError:
        return default


def test_defaults_are_those_of_the_loader(asked: dict[str, tuple[Any, Any]]) -> None:
    for path, (parse, default) in asked.items():
        key = BY_PATH.get(path)
        if key is None or key.default == REQUIRED:
            continue
        if key.default == NOTHING:
            assert default in (None, ()), path
        elif not key.default.startswith("("):
            assert parse(as_written(key.default)) == default, path


# --- JSON Schema


def faults(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> Iterator[str]:
    """The part of draft 7 that the schema uses; an editor has the rest."""
    if "$ref" in schema:
        yield from faults(root["definitions"][schema["$ref"].rsplit("/", 1)[1]], value, root)
    if "anyOf" in schema and all(list(faults(one, value, root)) for one in schema["anyOf"]):
        yield f"{value!r}: none of several"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{value!r}: not in {schema['enum']}"
    kinds = {"object": dict, "string": str, "array": list, "boolean": bool, "integer": int, "number": (int, float)}
    types = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    if types and not any(isinstance(value, kinds[one]) and (one == "boolean" or value is not True) for one in types):
        yield f"{value!r}: not {types}"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{value!r}: not {schema['pattern']}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if value < schema.get("minimum", value) or value > schema.get("maximum", value):
            yield f"{value!r}: out of range"
        if value <= schema.get("exclusiveMinimum", value - 1):
            yield f"{value!r}: out of range"
    if isinstance(value, list):
        for item in value:
            yield from faults(schema.get("items", {}), item, root)
    if isinstance(value, dict):
        others = schema.get("additionalProperties", True)
        for key, inner in value.items():
            if key in schema.get("properties", {}):
                yield from faults(schema["properties"][key], inner, root)
            elif isinstance(others, dict):
                yield from faults(others, inner, root)
            elif not others:
                yield f"{key}: unknown"


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE.read_text(encoding="utf-8"),
        HEAD + LOOP + SHARED_LISTS + SERVING,
        *(HEAD + text for text in FAR_ENDS.values()),
    ],
    ids=["example", "small", *FAR_ENDS],
)
def test_configurations_that_load_fit_the_schema(text: str) -> None:
    schema = json_schema()
    assert list(faults(schema, tomllib.loads(text), schema)) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "[gatway]\nid = 1",
        "[gateway]\nlog_level = 'loud'",
        "[gateway]\npanes_per_window = 1",
        "[defaults]\nevery = '10 parsecs'",
        "[defaults]\nevery = 10",
        "[links.a]\nmodbus = 'x'",
        "[devices.a]\nlink = { modbus_tcp = 'x', response_time = '1s' }",
        "[devices.a.tags.b]\ntype = 'float'",
        "[devices.a.tags.b]\nvalid = { lo = 0 }",
        "[uplink.a]\nbuffer = '2 buckets'",
        "[uplink.a]\ndrain = 50",
        "[control.a.pid]\nkp = 0",
        "[scada]\nloops_unit = 300",
    ],
)
def test_what_an_editor_should_mark_does_not_fit(wrong: str) -> None:
    schema = json_schema()
    assert list(faults(schema, tomllib.loads(wrong), schema))


# --- finding and printing


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("control.NAME.pid.kp", ["control.NAME.pid.kp"]),
        ("control.boiler.pid.kp", ["control.NAME.pid.kp"]),
        ("kp", ["control.NAME.pid.kp"]),
        ("pid.kp", ["control.NAME.pid.kp"]),
        ("http.listen", ["http.listen"]),
        (
            "[http]",
            [
                f"http.{key}"
                for key in (
                    *("listen", "users_file", "cert_file", "key_file", "metrics_clients"),
                    "connections_per_client",
                )
            ],
        ),
        ("drain", ["uplink.NAME.drain"]),
        (
            "word_order",
            ["devices.NAME.word_order", "devices.NAME.tags.TAG.word_order", "tag_lists.NAME.TAG.word_order"],
        ),
        ("nothing", []),
    ],
)
def test_a_key_is_found_by_its_path_its_table_or_its_end(query: str, paths: list[str]) -> None:
    assert [key.path for key in find(query)] == paths


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(app, ["explain", *arguments], prog_name="fieldgate")


def test_explain_says_meaning_range_and_default() -> None:
    assert run("links.plc.connect_timeout").stdout.splitlines() == [
        "links.NAME.connect_timeout",
        "  How long a connection may take to be made.",
        '  Write a duration from "1ms" to "1min", in us, µs, ms, s, min, h, d.',
        "  Default: 3s",
    ]
    assert "It must be written." in run("gateway.id").stdout


def test_explain_lists_a_table_or_everything() -> None:
    rows = run("scada").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == [key.path for key in KEYS if key.path.startswith("scada.")]
    listed = run().stdout
    assert all(key.path in listed for key in KEYS)
    assert json.loads(run("kp", "--json").stdout)["keys"][0]["accepts"] == "a number greater than 0"
    assert json.loads(run("--json-schema").stdout) == json.loads(json.dumps(json_schema()))


def test_an_unknown_key_is_exit_code_2_with_a_near_one() -> None:
    done = run("drian")
    assert done.exit_code == 2
    assert 'drian is not a key; did you mean "drain"?' in done.stderr


def test_a_form_that_was_forgotten_would_be_noticed(tmp_path: Path) -> None:
    assert all(key.form.words and key.help.endswith((".", "offset")) for key in KEYS)

"""What a sound configuration becomes."""

from __future__ import annotations

import gc
import re
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.core.types import Kind
from gateway.settings.credentials import CredentialError, password_of, username_of
from gateway.settings.document import Document, TomlPlace
from gateway.settings.load import examine, load
from gateway.settings.positions import KeyPath
from gateway.settings.schema import (
    FileAddress,
    ModbusPoint,
    MqttLink,
    MqttPoint,
    MqttVersion,
    NatsAddress,
    ParquetAddress,
    RegisterType,
    Settings,
    Table,
    Tag,
)
from gateway.settings.schema_uplink import KafkaAddress, Sasl
from gateway.settings.section import Section
from tests.support.settings import EXAMPLE, HEAD, LOOP, examine_text


def settings_of(directory: Path, text: str, environment: dict[str, str] | None = None) -> Settings:
    return examine_text(directory, text, environment).settings


def tag_of(settings: Settings, name: str) -> Tag:
    (found,) = [tag for tag in settings.tags if tag.name == name]
    return found


def modbus(tag: Tag) -> ModbusPoint:
    assert isinstance(tag.point, ModbusPoint)
    return tag.point


def mqtt(tag: Tag) -> MqttPoint:
    assert isinstance(tag.point, MqttPoint)
    return tag.point


def test_the_example_is_sound_and_nothing_about_it_is_odd() -> None:
    examined = examine(EXAMPLE)
    assert examined.warnings == ()
    settings = examined.settings
    assert len(settings.devices) == 8 + 40 + 8 + 1
    assert len(settings.loops) == 3
    assert settings.scada is not None
    assert settings.scada.lock_file == EXAMPLE.parent / "fieldgate.registers.lock"
    assert modbus(tag_of(settings, "pump-7.vibration")).every_ns == 200_000_000, "an inline tag wins over the list's"
    assert modbus(tag_of(settings, "card-3.level")).address == 2 * 16


def kind_of(path: KeyPath) -> str | None:
    """Which table of the grammar a table of a file is; None for those that only repeat others."""
    match path:
        case ("devices", _, "tags", _, "alarm", _):
            return None
        case ("devices", _, "tags", _, "calculate", _):
            return "tag.calculate.NAME"
        case ("devices", _, "tags", _, *rest):
            return ".".join(["tag", *map(str, rest)])
        case ("devices", _, "link"):
            return "links"
        case ("tag_lists" | "topics", *_):
            return None
        case ("links" | "devices" | "control" | "blocks" | "uplink" as group, _, *rest):
            return ".".join([group, *map(str, rest)])
    return ".".join(map(str, path))


def test_the_example_shows_every_setting_and_is_sound_with_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: set[tuple[str, str]] = set()
    written: set[tuple[str, str]] = set()
    finish = Section.finish

    def spy(section: Section, elsewhere: Mapping[str, str] | None = None) -> None:
        kind = kind_of(section.place.path) if isinstance(section.place, TomlPlace) else None
        if kind is not None:
            known.update((kind, key) for key in section._known)
            written.update((kind, key) for key in section.content)
        finish(section, elsewhere)

    monkeypatch.setattr(Section, "finish", spy)
    text = EXAMPLE.read_text(encoding="utf-8")
    whole, count = re.subn(r"(?m)^# (\w+ = )", r"\1", text)
    assert count > 25
    shutil.copytree(EXAMPLE.parent / "registers", tmp_path / "registers")
    shutil.copytree(EXAMPLE.parent / "reference", tmp_path / "reference")
    examined = examine_text(tmp_path, whole)
    files = {"password_file", "ca_file", "cert_file", "key_file", "key_password_file", "users_file"}
    assert {warning.key.rsplit(".", 1)[-1] for warning in examined.warnings} <= files
    elsewhere = {
        ("links", "modbus_ascii"),
        ("links", "each"),
        ("control", "each"),
        ("control.pid", "ki"),
        ("control.pid", "kd"),
        ("blocks", "each"),
        ("uplink", "nats"),
        ("uplink", "file"),
        ("uplink", "parquet"),
        ("uplink", "http"),
        ("uplink", "kafka"),
        ("uplink", "sparkplug"),
        ("uplink", "primary_host"),
        ("reference.assets", "table"),
        ("scada.modbus_tls", "roles"),
        ("scada.modbus_tls", "key_password_file"),
        ("scada.modbus_rtu", "stop_bits"),
        ("scada.modbus_rtu", "data_bits"),
        ("scada.modbus_rtu", "rs485"),
    }
    known = {(kind, key) for kind, key in known if kind != "writes.mqtt" or key in ("topic", "reply", "tags", "loops")}
    assert known - written == elsewhere, "each is shown with devices; the others in words"
    assert known > {("tag", "register"), ("tag.alarm", "score"), ("control.failsafe", "output"), ("", "scada")}


def test_a_configuration_of_one_line_has_every_default(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, 'gateway.id = "g"')
    assert settings.gateway_id == "g"
    assert settings.state_dir == tmp_path / "state"
    assert settings.log_level == "info"
    assert (settings.links, settings.devices, settings.tags, settings.loops) == ((), (), (), ())
    assert (settings.uplinks, settings.scada, settings.http) == ((), None, None)


def test_state_goes_where_systemd_says_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    environment = {"STATE_DIRECTORY": "/var/lib/fieldgate:/var/lib/other"}
    assert settings_of(tmp_path, 'gateway.id = "g"', environment).state_dir == Path("/var/lib/fieldgate")
    written = settings_of(tmp_path, 'gateway.id = "g"\ngateway.state_dir = "here"', environment)
    assert written.state_dir == tmp_path / "here"


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ('register = "holding 0"', Kind.U64),
        ('register = "holding 0", type = "int16"', Kind.I64),
        ('register = "holding 0", type = "uint64"', Kind.U64),
        ('register = "holding 0", type = "float32"', Kind.F64),
        ('register = "holding 0", scale = 0.1', Kind.F64),
        ('register = "holding 0", offset = 1', Kind.F64),
        ('register = "holding 0", scale = 1, offset = 0', Kind.U64),
        ('register = "coil 0"', Kind.U64),
    ],
)
def test_a_cell_is_a_float_only_where_it_must_be(tmp_path: Path, written: str, kind: Kind) -> None:
    settings = settings_of(tmp_path, HEAD + f'[devices.x]\nlink = "plc"\ntags.a = {{ {written} }}')
    assert tag_of(settings, "x.a").kind is kind


def test_tags_stand_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """
gateway.id = "g"
[tag_lists.l]
z = { register = "coil 0" }
a = { register = "coil 1" }
[devices.second]
link = { modbus_tcp = "h" }
tag_list = "l"
tags.b = { register = "coil 2" }
tags.z = { register = "coil 9" }
[devices.first]
link = { modbus_tcp = "h:502" }
tags.c = { register = "coil 3" }
"""
    settings = settings_of(tmp_path, text)
    assert [tag.name for tag in settings.tags] == ["second.z", "second.a", "second.b", "first.c"]
    assert modbus(settings.tags[0]).address == 9
    assert [link.name for link in settings.links] == ["h:502"], "equal endpoints share one link"


def test_words_and_bytes_follow_the_device_unless_the_tag_differs(tmp_path: Path) -> None:
    text = """
[devices.x]
link = "plc"
unit = 7
word_order = "little"
byte_order = "little"
tags.a = { register = "holding 0", type = "int32" }
tags.b = { register = "40001", word_order = "big", byte_order = "big" }
"""
    settings = settings_of(tmp_path, HEAD + text)
    a, b = modbus(tag_of(settings, "x.a")), modbus(tag_of(settings, "x.b"))
    assert (a.big_endian_words, a.big_endian_bytes, a.unit, a.type) == (False, False, 7, RegisterType.INT32)
    assert (b.big_endian_words, b.big_endian_bytes, b.table, b.address) == (True, True, Table.HOLDING, 0)


def test_defaults_hold_where_a_tag_says_nothing(tmp_path: Path) -> None:
    text = '[defaults]\nevery = "5s"\nwindows = ["2min"]\n' + HEAD
    settings = settings_of(tmp_path, text)
    pv, sensor = tag_of(settings, "d.pv"), tag_of(settings, "m.t")
    slow = tag_of(settings_of(tmp_path, '[defaults]\nstale_after = "10s"\n' + text.replace("[defaults]\n", "")), "d.pv")
    assert slow.stale_after_ns == 15 * 10**9, "a default never makes a slow tag stale between two reads"
    assert (modbus(pv).every_ns, pv.windows_ns, pv.stale_after_ns) == (5 * 10**9, (120 * 10**9,), 15 * 10**9)
    assert (sensor.windows_ns, sensor.stale_after_ns) == ((120 * 10**9,), 30 * 10**9)
    fast = settings_of(tmp_path, HEAD.replace("type =", 'every = "10ms", type ='))
    assert tag_of(fast, "d.pv").stale_after_ns == 2 * 10**9


def test_topics_are_made_of_device_and_tag(tmp_path: Path) -> None:
    text = """
[devices."hall-{n}"]
each = { n = [1, 2] }
link = "floor"
topic = "site/{n}/{device}/{tag}"
tags.t = { field = "a.b", time_field = ["x.y", "z"] }
tags.u = { topic = "other/{tag}", scale = 2 }
"""
    settings = settings_of(tmp_path, HEAD + text)
    assert mqtt(tag_of(settings, "hall-2.t")).topic == "site/2/hall-2/t"
    assert mqtt(tag_of(settings, "hall-2.t")).field == ("a", "b")
    assert mqtt(tag_of(settings, "hall-2.t")).time_field == ("x.y", "z")
    assert mqtt(tag_of(settings, "hall-1.u")).topic == "other/u"
    assert mqtt(tag_of(settings, "m.t")).topic == "plant/m/t"


def test_a_loop_takes_its_ranges_from_its_tags(tmp_path: Path) -> None:
    (loop,) = settings_of(tmp_path, HEAD + LOOP).loops
    assert (loop.setpoint_min, loop.setpoint_max) == (0, 100)
    assert (loop.output_min, loop.output_max, loop.output_rate_max) == (0, 100, None)
    assert (loop.ti_s, loop.td_s, loop.reverse_acting, loop.starts_in_auto) == (None, None, True, True)
    assert (loop.failsafe_output, loop.every_ns, loop.stale_after_ns) == (0, 100_000_000, 1_000_000_000)
    held = LOOP.replace("output = 0", 'output = "hold"').replace("kp = 2", 'kp = 2, ti = "1min", action = "direct"')
    (loop,) = settings_of(tmp_path, HEAD + held + 'mode = "manual"').loops
    assert (loop.failsafe_output, loop.ti_s, loop.reverse_acting, loop.starts_in_auto) == (None, 60, False, False)


def test_loops_can_be_made_from_a_template(tmp_path: Path) -> None:
    text = """
gateway.id = "g"
[devices."p-{n}"]
each = { n = "1..3" }
link = { modbus_tcp = "10.0.0.{n}" }
tags.pv = { register = "input 0" }
tags.out = { register = "holding 0", write = true, valid = { low = 0, high = 10 } }
[control."p-{n}"]
each = { n = "1..3" }
pid = { input = "p-{n}.pv", output = "p-{n}.out", setpoint = "{n}", kp = 1 }
failsafe = { output = 0 }
"""
    settings = settings_of(tmp_path, text)
    assert [(loop.name, loop.output, loop.setpoint, loop.output_max) for loop in settings.loops] == [
        ("p-1", "p-1.out", 1, 10),
        ("p-2", "p-2.out", 2, 10),
        ("p-3", "p-3.out", 3, 10),
    ]


def test_the_uplink_knows_whose_it_is(tmp_path: Path) -> None:
    (uplink,) = settings_of(tmp_path, HEAD + '[uplink.u]\nmqtt = "mqtts://b"\nversion = "5"').uplinks
    assert (uplink.address.port, uplink.address.tls, uplink.address.version) == (8883, True, MqttVersion.V5)
    assert uplink.address.client_id == "g-uplink-u"
    assert uplink.topic == "fieldgate/g/{stream}"
    assert uplink.streams == ("events", "aggregates", "calculations", "multivariate")
    assert (uplink.buffer_bytes_max, uplink.drain_records_per_s) == (2 * 10**9, 200)


def test_an_uplink_may_be_a_jetstream_or_a_file_or_a_folder(tmp_path: Path) -> None:
    (to_nats,) = settings_of(tmp_path, HEAD + '[uplink.u]\nnats = "tls://b"').uplinks
    assert to_nats.address == NatsAddress(host="b", port=4222, tls=True, client_name="g-uplink-u")
    assert to_nats.topic == "fieldgate.g.{stream}"
    (to_file,) = settings_of(tmp_path, HEAD + '[uplink.u]\nfile = "out/r.jsonl"\nrotate = "20MB"').uplinks
    assert to_file.address == FileAddress(path=tmp_path / "out/r.jsonl", rotate_bytes=20_000_000)
    (to_folder,) = settings_of(tmp_path, HEAD + '[uplink.u]\nparquet = "archive"\nrotate_every = "10min"').uplinks
    assert to_folder.address == ParquetAddress(
        path=tmp_path / "archive", rotate_bytes=256 * 10**6, rotate_every_ns=600 * 10**9, room_bytes=10**10
    )
    assert (to_file.grace_ns, to_file.grace_bytes_max) == (600 * 10**9, 64 * 10**6)


def test_an_uplink_may_be_a_kafka_cluster(tmp_path: Path) -> None:
    (plain,) = settings_of(tmp_path, HEAD + '[uplink.u]\nkafka = "kafka://b"').uplinks
    assert plain.address == KafkaAddress(
        servers=("b:9092",), client_name="g-uplink-u", position_topic="fieldgate.g.position"
    )
    assert plain.topic == "fieldgate.g.{stream}"
    text = """[uplink.u]
kafka = "kafkas://a:9093,[::1]"
topic = "plant"
position_topic = "at.{gateway}"
username = "n"
password_file = "secret"
"""
    (secured,) = settings_of(tmp_path, HEAD + text).uplinks
    assert secured.address == KafkaAddress(
        servers=("a:9093", "[::1]:9092"),
        tls=True,
        username="n",
        password_file=tmp_path / "secret",
        sasl=Sasl.SCRAM_SHA_512,
        client_name="g-uplink-u",
        position_topic="at.g",
    )
    assert secured.topic == "plant"


def test_scada_sees_what_is_chosen_and_writes_nothing_unless_allowed(tmp_path: Path) -> None:
    text = HEAD.replace('"coil 3"', '"coil 3", scada = false') + LOOP
    closed = settings_of(tmp_path, text + "[scada]").scada
    assert closed is not None
    assert closed.tags == ("d.pv", "d.out", "m.t")
    assert closed.writable == ()
    assert closed.units == {"d": 1, "m": 1}
    open_ = settings_of(
        tmp_path, text + '[scada]\ntags = ["d.*"]\nunits = { "*" = 9, m = 3 }\nwrite = ["control.c.[sm]*"]'
    ).scada
    assert open_ is not None
    assert open_.tags == ("d.pv", "d.out")
    assert open_.writable == ("control.c.setpoint", "control.c.mode")
    assert open_.units == {"d": 9, "m": 3}


def test_what_is_odd_but_runs_is_warned_of(tmp_path: Path) -> None:
    text = """
gateway.id = "g"
[links.a]
modbus_tcp = "h:502"
[links.b]
modbus_tcp = "h"
[links.m]
mqtt = "mqtt://far.example"
username = "u"
password_file = "secret"
[tag_lists.unused]
x = { register = "coil 0" }
[devices.empty]
link = "a"
[devices.s]
link = "m"
topic = "one/for/all"
tags.a = {}
tags.b = {}
"""
    warnings = [f"{found.line}: {found.key}: {found.message}" for found in examine_text(tmp_path, text).warnings]
    assert warnings == [
        '5: links.b: connects to the same place as "a"; many devices serve one connection only',
        "5: links.b: is used by no device",
        "10: links.m.password_file: the password crosses the network in clear; use mqtts://",
        f"10: links.m.password_file: there is no file {tmp_path / 'secret'} on this machine yet",
        "11: tag_lists.unused: is used by no device",
        '13: devices.empty: has no tags; write tags.NAME = { ... } or tag_list = "..."',
        "19: devices.s.tags.b: reads the same value as s.a",
    ]


def test_three_hundred_devices_from_a_template_are_read_in_well_under_a_second(tmp_path: Path) -> None:
    tags = "\n".join(f'tags.t{index} = {{ register = "holding {2 * index}", type = "float32" }}' for index in range(20))
    text = 'gateway.id = "g"\n[devices."meter-{n}"]\neach = { n = "1..300" }\nlink = { modbus_tcp = "h{n}" }\n' + tags
    path = tmp_path / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    began = time.process_time()
    settings = load(path)
    assert time.process_time() - began < 0.8
    assert (len(settings.devices), len(settings.tags), len(settings.links)) == (300, 6_000, 300)


def test_what_reading_takes_grows_with_the_tags_and_no_faster_though_each_is_its_own(tmp_path: Path) -> None:
    tags = "\n".join(
        f'tags.t{index} = {{ register = "holding {2 * index}", type = "float32", unit = "{{n}}" }}'
        for index in range(200)
    )

    def seconds(devices: int) -> float:
        path = tmp_path / f"{devices}.toml"
        each = f'[devices."d-{{n}}"]\neach = {{ n = "1..{devices}" }}\nlink = {{ modbus_tcp = "h{{n}}" }}\n'
        path.write_text(f'gateway.id = "g"\n{each}{tags}\n[scada]\n', encoding="utf-8")
        began = time.process_time()
        settings = load(path)
        took = time.process_time() - began
        assert len(settings.tags) == 200 * devices
        assert settings.tags[-1].unit == str(devices)
        return took

    few, many = seconds(25), seconds(250)
    assert many < 20 * few, f"{few:.2f} s for 5,000 tags, {many:.2f} s for 50,000"


def test_more_tags_than_a_gateway_takes_are_refused(tmp_path: Path) -> None:
    tags = "\n".join(f'tags.t{index} = {{ register = "holding {index}" }}' for index in range(11))
    text = 'gateway.id = "g"\n[devices."d-{n}"]\neach = { n = "1..20000" }\nlink = { modbus_tcp = "h" }\n' + tags
    with pytest.raises(Exception, match="brings the tags to more than 200000; split the plant over two gateways"):
        examine_text(tmp_path, text)


def test_secrets_may_come_from_files_and_from_systemd(tmp_path: Path) -> None:
    handed = tmp_path / "credentials"
    handed.mkdir()
    (handed / "user").write_text("gate\n", encoding="utf-8")
    (handed / "password").write_text("secret\nsecond line\n", encoding="utf-8")
    text = (
        '[gateway]\nid = "g"\n[links.a]\nmqtt = "mqtt://127.0.0.1"\nusername = "credential:user"\n'
        'password_file = "credential:password"\n[links.b]\nmqtt = "mqtt://127.0.0.1"\nusername = "file:name"\n'
    )
    examined = examine_text(tmp_path, text, {"CREDENTIALS_DIRECTORY": str(handed)})
    first, second = (link.broker for link in examined.settings.links if isinstance(link, MqttLink))
    assert (username_of(first), password_of(first)) == ("gate", "secret")
    assert second.username_file == tmp_path / "name"
    with pytest.raises(CredentialError, match=r"cannot use the user file .*name: No such file"):
        username_of(second)
    warned = {warning.key for warning in examine_text(tmp_path, text).warnings}
    assert {"links.a.username", "links.a.password_file", "links.b.username"} <= warned


def test_nothing_keeps_a_configuration_that_was_read_before(tmp_path: Path) -> None:
    def documents() -> int:
        gc.collect()
        return sum(isinstance(found, Document) for found in gc.get_objects())

    before = documents()
    for _ in range(3):
        settings_of(tmp_path, HEAD + LOOP)
    assert documents() == before

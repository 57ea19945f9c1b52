"""Settings: what one configuration file says, whole and checked, as frozen types.

Nothing here is optional in the sense of "maybe not read yet": every default is filled in, every duration is in
nanoseconds, every template is unrolled, every reference between sections holds. `gateway.settings.load` is the only
maker of these objects; everybody else trusts them.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

import msgspec

from gateway.core.alarms import AlarmDefinition
from gateway.core.calculations import CalculationDefinition
from gateway.core.calendar import UTC, Zone
from gateway.core.formula import Formula
from gateway.core.types import Kind
from gateway.protocol.mqtt.form import PLAIN, Form
from gateway.settings.schema_brokers import BrokerAddress as BrokerAddress
from gateway.settings.schema_brokers import MqttLink as MqttLink
from gateway.settings.schema_brokers import MqttSession as MqttSession
from gateway.settings.schema_brokers import MqttVersion as MqttVersion
from gateway.settings.schema_brokers import Retained as Retained
from gateway.settings.schema_brokers import SparkplugHost as SparkplugHost
from gateway.settings.schema_control import HOLD_POINT as HOLD_POINT
from gateway.settings.schema_control import LOOP_POINTS as LOOP_POINTS
from gateway.settings.schema_control import Block as Block
from gateway.settings.schema_control import Commands as Commands
from gateway.settings.schema_control import OutputBy as OutputBy
from gateway.settings.schema_control import PidLoop as PidLoop
from gateway.settings.schema_control import Signal as Signal
from gateway.settings.schema_control import driven_by as driven_by
from gateway.settings.schema_control import registers_of as registers_of
from gateway.settings.schema_modbus import ModbusLink as ModbusLink
from gateway.settings.schema_scada import Scada as Scada
from gateway.settings.schema_scada import ScadaRule as ScadaRule
from gateway.settings.schema_serving import Http as Http
from gateway.settings.schema_uplink import FileAddress as FileAddress
from gateway.settings.schema_uplink import Hours as Hours
from gateway.settings.schema_uplink import HttpAddress as HttpAddress
from gateway.settings.schema_uplink import HttpFormat as HttpFormat
from gateway.settings.schema_uplink import NatsAddress as NatsAddress
from gateway.settings.schema_uplink import ParquetAddress as ParquetAddress
from gateway.settings.schema_uplink import SparkplugAddress as SparkplugAddress
from gateway.settings.schema_uplink import Uplink as Uplink
from gateway.settings.schema_uplink import UpstreamAddress as UpstreamAddress


class Table(StrEnum):
    """The four Modbus tables (Application Protocol V1.1b3, 4.3)."""

    COIL = "coil"
    DISCRETE = "discrete"
    INPUT = "input"
    HOLDING = "holding"


class RegisterType(StrEnum):
    BOOL = "bool"
    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    BCD16 = "bcd16"
    BCD32 = "bcd32"
    BCD64 = "bcd64"
    SIGNMAG16 = "signmag16"
    SIGNMAG32 = "signmag32"
    SIGNMAG64 = "signmag64"
    STRING = "string"


class TextEncoding(StrEnum):
    """How the characters of a text lie in its registers."""

    UTF_8 = "utf-8"
    ASCII = "ascii"
    LATIN_1 = "latin-1"
    UTF_16 = "utf-16"


class TextPadding(StrEnum):
    """What stands behind a text that is shorter than its registers."""

    ANY = "any"
    NUL = "nul"
    SPACE = "space"
    NONE = "none"


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


Link: TypeAlias = ModbusLink | MqttLink


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Report by exception: a reading is passed on when it differs from the last one passed on, at the latest after
    `heartbeat_ns`, and at the soonest after `hold_ns`. Without `change` and `percent`, any difference counts."""

    change: float | None = None
    percent: float | None = None
    """Of the last value passed on."""
    hold_ns: int = 0
    heartbeat_ns: int


class Hole(msgspec.Struct, frozen=True):
    """Addresses of a table, `first` to `last`, that a device must not be asked for."""

    table: Table
    first: int
    last: int


class ReadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one read of a device may be."""

    registers_max: int = 125
    bits_max: int = 2_000
    gap_registers_max: int = 8
    """Unused registers that are read along; for bits the same bytes."""
    holes: tuple[Hole, ...] = ()


ANY_READ = ReadLimits()


class WriteWith(StrEnum):
    """Which functions a device is written with."""

    SINGLE = "single"
    """5 and 6 for one coil or register, 16 for more."""
    MULTIPLE = "multiple"
    """15 and 16 always, for devices that know no others."""
    READ_WRITE = "read_write"
    """23, which brings back what is there then; coils as by `multiple`."""


class ModbusPoint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a tag lies in a Modbus unit. `address` is the protocol's, counted from 0."""

    unit: int
    table: Table
    address: int
    type: RegisterType
    big_endian_words: bool = True
    big_endian_bytes: bool = True
    scale: float = 1.0
    offset: float = 0.0
    first_bit: int = 0
    bits: int = 0
    """Width of a bit field that begins at `first_bit` (0 is the lowest); 0: the whole value."""
    not_available: tuple[int, ...] = ()
    """Patterns, of the field where there is one, by which the device says that it has no value."""
    clamp_low: float | None = None
    clamp_high: float | None = None
    text_registers: int = 0
    """Registers of a text; 0 for numbers."""
    encoding: TextEncoding = TextEncoding.UTF_8
    padding: TextPadding = TextPadding.ANY
    every_ns: int
    phase_ns: int | None = None
    """When in the period, on the grid of engine time; None: wherever there is room."""
    jitter_ns: int = 0
    priority: Priority = Priority.NORMAL
    """What is of low priority is read more seldom under pressure (`gateway.core.pressure`)."""
    limits: ReadLimits = ANY_READ
    writable: bool = False
    verify: bool = False
    """What is written is read back."""
    write_with: WriteWith = WriteWith.SINGLE
    report: Report | None = None

    @property
    def is_whole_and_plain(self) -> bool:
        """Whether the registers are the value, with nothing but order, scale and offset between them."""
        return not (self.bits or self.not_available) and self.clamp_low is None and self.clamp_high is None


class MqttPoint(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which messages carry a tag. `field` is the path to the value in a JSON object, empty for a bare payload.

    With `sparkplug` (group, edge node and, of a device, its name) the tag is the metric of that name; `topic` is empty.
    """

    topic: str = ""
    field: tuple[str | int, ...] = ()
    time_field: tuple[str | int, ...] = ()
    sequence_field: tuple[str | int, ...] = ()
    """Where a number of the reading is, which tells it from its repetition."""
    qos: int = 0
    durable: bool = False
    """Acknowledged to the broker only once it is on disk."""
    priority: Priority = Priority.NORMAL
    """Of messages of QoS 0, when they come faster than they can be taken."""
    scale: float = 1.0
    offset: float = 0.0
    clamp_low: float | None = None
    clamp_high: float | None = None
    report: Report | None = None
    quality_field: tuple[str | int, ...] = ()
    form: Form = PLAIN
    name: str = ""
    """Of the reading or record, where a message has many."""
    at: int = 0
    wire: int = 0
    """In a struct: the first byte, and a WireForm, plus BIG_END."""
    sparkplug: tuple[str, ...] = ()
    metric: str = ""
    write_topic: str = ""
    """Where a loop that drives the tag publishes its output; empty: nothing is written."""
    write_payload: str = "{value}"

    @property
    def comes(self) -> str:
        return "comes by MQTT"


class FormulaPoint(msgspec.Struct, frozen=True, kw_only=True):
    """A tag that no source brings: it is computed from others."""

    formula: Formula

    @property
    def comes(self) -> str:
        return "is computed"


Point: TypeAlias = ModbusPoint | MqttPoint | FormulaPoint


class Tag(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One value of one device. `name` is `device.tag`."""

    name: str
    device: str
    point: Point
    kind: Kind
    unit: str = ""
    windows_ns: tuple[int, ...]
    stale_after_ns: int
    alarms: tuple[AlarmDefinition, ...] = ()
    calculations: tuple[CalculationDefinition, ...] = ()
    valid_low: float | None = None
    valid_high: float | None = None
    has_shape: bool = False
    """Its event score is also of the course of its values."""
    labels: tuple[tuple[int, str], ...] = ()
    """What the values of a whole number are called."""
    scada: bool = True
    curve: tuple[tuple[float, float], ...] = ()
    context: tuple[tuple[str, str], ...] = ()
    """Both from reference tables, as in `gateway.core.model`."""

    @property
    def is_durable(self) -> bool:
        return isinstance(self.point, MqttPoint) and self.point.durable

    @property
    def is_writable(self) -> bool:
        return isinstance(self.point, ModbusPoint) and self.point.writable


class ReferenceTable(msgspec.Struct, frozen=True, kw_only=True):
    """`table` is empty for a CSV file."""

    name: str
    file: Path
    table: str


class Device(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    link: str
    """Empty where all tags are computed."""
    multivariate: tuple[str, ...] = ()
    """Full names of the tags that are seen together; the alarm stands with the first of them."""


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the journal is kept, how long its groups gather, and whose samples are not in it."""

    bytes_max: int
    age_ns: int
    commit_every_ns: int
    left_out: tuple[str, ...] = ()
    """Full names of tags."""


class MqttWrites(msgspec.Struct, frozen=True, kw_only=True):
    """Writing by MQTT. `{tag}` in `topic` and `reply` stands for the tag's full name."""

    broker: BrokerAddress
    topic: str
    reply: str
    tags: tuple[str, ...]
    """Full names of the tags that may be written this way."""
    loops: tuple[str, ...] = ()
    """Points of loops that may be, like `control.boiler.setpoint`."""


class Writes(msgspec.Struct, frozen=True, kw_only=True):
    """Who may write to tags that may be written; SCADA has its own list."""

    local: bool = True
    """`fieldgate write` on this machine, by the gateway's own user and root."""
    page: tuple[str, ...] = ()
    """Full names of the tags, and points of loops, that operators may write by the page and the API."""
    mqtt: MqttWrites | None = None


class TopicGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Topic patterns and the tags that fit them. `limit` is of devices, `tags_limit` of tags at a time; `tag` is what
    every tag is called where the patterns have no {tag}. `offers` are tried in order: a glob for the tag's name and a
    tag to go by; the last takes any."""

    name: str
    link: str
    patterns: tuple[str, ...]
    tag: str | None
    limit: int
    tags_per_device: int
    tags_limit: int
    evict_idle_after_ns: int
    offers: tuple[tuple[str, Tag], ...]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration, whole."""

    path: Path
    gateway_id: str
    state_dir: Path
    log_level: str
    panes_per_window: int
    zone: Zone = UTC
    """Whose days, months and shifts calculations mean."""
    checkpoint_every_ns: int
    links: tuple[Link, ...]
    devices: tuple[Device, ...]
    tags: tuple[Tag, ...]
    topics: tuple[TopicGroup, ...] = ()
    parking_bytes_max: int = 256 * 10**6
    loops: tuple[PidLoop, ...]
    blocks: tuple[Block, ...] = ()
    """Function blocks, each after those whose outputs it takes."""
    journal: Journal | None
    uplinks: tuple[Uplink, ...]
    scada: Scada | None
    writes: Writes = Writes()
    inhibit_writes: bool = False
    http: Http | None
    history_bytes_max: int = 0
    """0: none is kept."""
    flash_endurance_bytes: int = 0
    reload_trial_ns: int = 30 * 10**9
    """0: what is reloaded is kept whatever comes of it."""
    reference: tuple[ReferenceTable, ...] = ()
    unjoined: tuple[Tag, ...] = ()
    """Where there are reference tables: the tags as they are written."""
    reference_findings: tuple[str, ...] = ()
    """What of the tables could not be used."""
    reference_rows: dict[str, tuple[tuple[int, dict[str, str]], ...]] = {}
    """By table that could be read: its rows, each with its place."""

    @property
    def link_of(self) -> dict[str, str]:
        """The link of each device, both by name."""
        return {device.name: device.link for device in self.devices}

    @property
    def modbus_links(self) -> dict[str, ModbusLink]:
        """By the name of each device that is behind one."""
        links = {link.name: link for link in self.links if isinstance(link, ModbusLink)}
        return {device.name: links[device.link] for device in self.devices if device.link in links}

    @property
    def executive_tags(self) -> frozenset[str]:
        """Full names of the tags that loops read and write by themselves."""
        return frozenset(name for loop in self.loops for name in registers_of(loop))

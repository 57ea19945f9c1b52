"""The uplink: where records go, which, and how much may wait."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core import limits
from gateway.core.calendar import Zone
from gateway.core.record import Stream
from gateway.core.types import NS_PER_S
from gateway.settings.addresses import subject, topic
from gateway.settings.brokers import LINK_ELSEWHERE, Files, read_broker, read_nats
from gateway.settings.httpaddress import read_http
from gateway.settings.instances import has_name
from gateway.settings.kafka import read_kafka
from gateway.settings.recordform import read_form
from gateway.settings.schema import (
    BrokerAddress,
    FileAddress,
    Hours,
    ParquetAddress,
    SparkplugAddress,
    Uplink,
    UpstreamAddress,
)
from gateway.settings.section import Section
from gateway.settings.sparkplug import edge_node, host_id
from gateway.settings.units import (
    array_of,
    bandwidth,
    choice,
    duration,
    hours,
    per_second,
    share,
    show_duration,
    size,
    text,
)

PERIOD = duration(limits.GRID_NS, 24 * 3_600 * NS_PER_S)
STREAMS = array_of(choice(Stream), '["events", "aggregates", "multivariate"]', len(Stream), count_min=1)
BUFFER = size(10**6, 10**12)
AGE = duration(10 * NS_PER_S, 3_660 * 24 * 3_600 * NS_PER_S)
GRACE = duration(0, 7 * 24 * 3_600 * NS_PER_S)
GRACE_BUFFER = size(0, 10**12)
FREE_DISK = size(0, 10**13)
FLASH_ENDURANCE = size(10**9, 10**17)
DRAIN = per_second(1, 100_000)
ACKNOWLEDGE_TIMEOUT = duration(NS_PER_S // 10, 600 * NS_PER_S)

DEFAULT_STREAMS = (Stream.EVENTS, Stream.AGGREGATES, Stream.CALCULATIONS, Stream.MULTIVARIATE)
OF_SPARKPLUG = (Stream.EVENTS, Stream.SAMPLES)
CUT = (Stream.AGGREGATES, Stream.SAMPLES)
KINDS = ("mqtt", "nats", "kafka", "http", "file", "parquet")
"""The keys that say where records go: an uplink has one of them."""
ROTATE = size(16 * 10**6, 10**11)
ROTATE_EVERY = duration(NS_PER_S, 24 * 3_600 * NS_PER_S)
ROOM = size(64 * 10**6, 10**14)
DEFAULT_SUBJECT = "fieldgate.{gateway}.{stream}"
DEFAULT_TOPIC = "fieldgate/{gateway}/{stream}"


def read_uplinks(root: Section, gateway_id: str, files: Files, zone: Zone) -> tuple[Uplink, ...]:
    found: list[Uplink] = []
    for name, section in root.tables("uplink"):
        if len(found) == limits.UPLINKS_MAX:
            section.wrong_here(f"makes more than {limits.UPLINKS_MAX} uplinks; write fewer")
            break
        if has_name(name, section):
            section.variables = {"gateway": gateway_id, "stream": "{stream}"}
            uplink = _read(section, name, gateway_id, files, zone)
            for other in found:
                _check_together(section, uplink, other)
            found.append(uplink)
    return tuple(found)


def record_periods_ns(uplinks: Sequence[Uplink]) -> tuple[int, int]:
    """How often aggregates and samples are cut into records: once, for all uplinks that take them; 0 without any."""
    first = {stream: uplink for uplink in reversed(uplinks) for stream in map(str, uplink.streams)}
    aggregates, samples = (first.get(stream.value, next(iter(uplinks), None)) for stream in CUT)
    return aggregates.aggregates_every_ns if aggregates else 0, samples.samples_every_ns if samples else 0


def _check_together(section: Section, uplink: Uplink, other: Uplink) -> None:
    """Records are cut once, for all uplinks that take them; two that write to one file would tear its lines."""
    both = {str(stream) for stream in uplink.streams} & {str(stream) for stream in other.streams}
    for stream, key, ours_ns, theirs_ns in (
        (Stream.AGGREGATES, "aggregates_every", uplink.aggregates_every_ns, other.aggregates_every_ns),
        (Stream.SAMPLES, "samples_every", uplink.samples_every_ns, other.samples_every_ns),
    ):
        if stream.value in both and ours_ns != theirs_ns:
            section.wrong(
                key,
                f"is {show_duration(ours_ns)}, and {show_duration(theirs_ns)} in uplink.{other.name}, which takes"
                f" {stream.value} too; records are cut once for all, write the same",
            )
    if isinstance(uplink.address, FileAddress) and uplink.address == other.address:
        section.wrong("file", f"is that of uplink.{other.name} too; give each a file of its own")
    folders = [each.address.path for each in (uplink, other) if isinstance(each.address, ParquetAddress)]
    if len(folders) > len(set(folders)):
        section.wrong("parquet", f"is that of uplink.{other.name} too; give each a folder of its own")
    if isinstance(uplink.address, SparkplugAddress) and isinstance(other.address, SparkplugAddress):
        ours, theirs = uplink.address, other.address
        if (ours.group, ours.edge) == (theirs.group, theirs.edge):
            section.wrong(
                "sparkplug", f"is that of uplink.{other.name} too; an edge node is one, name each differently"
            )


def _read(section: Section, name: str, gateway_id: str, files: Files, zone: Zone) -> Uplink:
    address, where = _read_address(section, name, gateway_id, files)
    uplink = Uplink(
        name=name,
        address=address,
        topic=where,
        form=read_form(section, address),
        streams=_streams(section, address),
        aggregates_every_ns=_period(section, "aggregates_every", 10 * NS_PER_S),
        samples_every_ns=_period(section, "samples_every", NS_PER_S),
        buffer_bytes_max=section.get("buffer", BUFFER, 2 * 10**9),
        age_ns_max=section.get("max_age", AGE, 0),
        grace_ns=section.get("grace", GRACE, 10 * 60 * NS_PER_S),
        grace_bytes_max=section.get("grace_buffer", GRACE_BUFFER, 64 * 10**6),
        drain_records_per_s=section.get("drain", DRAIN, 200),
        acknowledge_timeout_ns=section.get("acknowledge_timeout", ACKNOWLEDGE_TIMEOUT, 10 * NS_PER_S),
        bandwidth_bytes_per_s=section.get("bandwidth", bandwidth, 0),
        drain_share=section.get("drain_share", share, 0.25),
        drain_between=_hours(section, zone),
        free_disk_bytes_min=section.get("free_disk", FREE_DISK, 100 * 10**6),
    )
    section.finish(LINK_ELSEWHERE)
    return uplink


def _read_address(section: Section, name: str, gateway_id: str, files: Files) -> tuple[UpstreamAddress, str]:
    """Where records go, and the topic or subject there."""
    kinds = [kind for kind in KINDS if section.has(kind)]
    if len(kinds) > 1:
        section.wrong_here(f"is both {' and '.join(kinds)}; write one of them")
    client = f"{gateway_id}-uplink-{name}"
    if "nats" in kinds:
        where = section.get("subject", subject, DEFAULT_SUBJECT.replace("{gateway}", gateway_id))
        return read_nats(section, client, files), where
    if "kafka" in kinds:
        return read_kafka(section, client, gateway_id, files)
    if "http" in kinds:
        return read_http(section, files), ""
    if "file" in kinds:
        path = files.directory / section.get("file", text, "")
        if section.is_sound("file") and not path.suffix:
            section.wrong("file", f'"{path.name}" names no file of JSON lines; write "records.jsonl", for example')
        return FileAddress(path=path, rotate_bytes=section.get("rotate", ROTATE, 256 * 10**6)), ""
    if "parquet" in kinds:
        return _parquet(section, files), ""
    if not kinds:
        others = ", ".join(KINDS[1:])
        section.wrong("mqtt", f'is missing; write mqtt = "mqtts://broker.example:8883", or {others} =')
    broker = read_broker(section, client, files)
    if section.has("sparkplug"):
        return _edge_node(section, broker), ""
    if section.has("primary_host"):
        section.wrong("primary_host", 'belongs to Sparkplug B; write sparkplug = "group/edge" as well, or take it out')
    return broker, section.get("topic", topic, DEFAULT_TOPIC.replace("{gateway}", gateway_id))


def _parquet(section: Section, files: Files) -> ParquetAddress:
    return ParquetAddress(
        path=files.directory / section.get("parquet", text, ""),
        rotate_bytes=section.get("rotate", ROTATE, 256 * 10**6),
        rotate_every_ns=section.get("rotate_every", ROTATE_EVERY, 3_600 * NS_PER_S),
        room_bytes=section.get("room", ROOM, 10**10),
    )


def _edge_node(section: Section, broker: BrokerAddress) -> SparkplugAddress:
    group, edge = section.get("sparkplug", edge_node, ("nowhere", "nobody"))
    if section.has("topic"):
        section.wrong("topic", "is Sparkplug's own; take it out")
    return SparkplugAddress(
        broker=broker, group=group, edge=edge, primary_host=section.get("primary_host", host_id, None)
    )


def _streams(section: Section, address: UpstreamAddress) -> tuple[Stream, ...]:
    if not isinstance(address, SparkplugAddress):
        return tuple(section.get("streams", STREAMS, DEFAULT_STREAMS))
    streams = tuple(section.get("streams", STREAMS, OF_SPARKPLUG))
    if others := [stream for stream in streams if stream not in OF_SPARKPLUG]:
        section.wrong("streams", f"has {', '.join(others)}, and Sparkplug takes events and samples; take it out")
    return streams


def _hours(section: Section, zone: Zone) -> Hours | None:
    found = section.get("drain_between", hours, None)
    return Hours(start_s=found[0], end_s=found[1], zone=zone) if found else None


def _period(section: Section, key: str, default_ns: int) -> int:
    """Records are cut on the engine's grid."""
    found_ns = section.get(key, PERIOD, default_ns)
    if found_ns % limits.GRID_NS:
        grid = show_duration(limits.GRID_NS)
        below = show_duration(found_ns - found_ns % limits.GRID_NS)
        section.wrong(key, f'{show_duration(found_ns)} is not a multiple of {grid}; write "{below}", for example')
    return found_ns

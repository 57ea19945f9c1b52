"""A running MqttSource with all that it said and delivered, and a publisher."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import numpy as np

from gateway.core.events import Event
from gateway.core.inbox import Lane
from gateway.core.intake import Frame
from gateway.core.types import NS_PER_S, SAMPLE, Kind, Samples
from gateway.protocol.mqtt.codec import frame
from gateway.settings.schema import BrokerAddress, MqttLink, MqttPoint, MqttSession, MqttVersion, Priority, Report, Tag
from gateway.sources.mqtt.source import MqttSource
from gateway.spool.intake import IntakeFiles

WALL_OFFSET_NS = 1_700_000_000 * NS_PER_S
DEADLINE_S = 15.0


def tag(
    name: str,
    topic: str,
    field: tuple[str, ...] = (),
    *,
    time_field: tuple[str, ...] = (),
    qos: int = 0,
    kind: Kind = Kind.F64,
    sequence_field: tuple[str, ...] = (),
    priority: Priority = Priority.NORMAL,
    durable: bool = False,
    report: Report | None = None,
    clamp: tuple[float | None, float | None] = (None, None),
) -> Tag:
    """A tag `device.name`."""
    return Tag(
        name=name,
        device=name.split(".")[0],
        point=MqttPoint(
            topic=topic,
            field=field,
            time_field=time_field,
            sequence_field=sequence_field,
            qos=qos,
            priority=priority,
            durable=durable,
            report=report,
            clamp_low=clamp[0],
            clamp_high=clamp[1],
        ),
        kind=kind,
        windows_ns=(),
        stale_after_ns=NS_PER_S,
    )


def link(
    port: int,
    *,
    version: MqttVersion = MqttVersion.V311,
    username: str | None = None,
    password_file: Path | None = None,
    keep_alive_s: int = 30,
    client_id: str = "gateway",
    ca_file: Path | None = None,
    cert_file: Path | None = None,
    key_file: Path | None = None,
    session: MqttSession = MqttSession(),  # noqa: B008 - immutable
) -> MqttLink:
    broker = BrokerAddress(
        host="127.0.0.1",
        port=port,
        version=version,
        client_id=client_id,
        username=username,
        password_file=password_file,
        keep_alive_s=keep_alive_s,
        tls=ca_file is not None,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
    )
    return MqttLink(name="floor", broker=broker, session=session)


class StuckIntake(IntakeFiles):
    """A disk that takes frames and never says so, until told to."""

    held: list[tuple[Frame, Callable[[], None]]] | None = None

    def put(self, frame: Frame, kept: Callable[[], None]) -> None:
        if self.held is None:
            self.held = []
        self.held.append((frame, kept))

    def release(self) -> None:
        for held, kept in self.held or ():
            super().put(held, kept)
        self.held = []


class Rig:
    """A source, its lane, its events; `samples()` is everything that it has delivered so far.

    With `intake` (a folder) the session is durable; `safe` is the position from which it goes on.
    """

    def __init__(
        self,
        link: MqttLink,
        tags: Sequence[Tag],
        lane_samples: int = 65_536,
        *,
        intake: Path | None = None,
        safe: int = 0,
        stuck: bool = False,
    ) -> None:
        self.lane = Lane("floor", lane_samples)
        self.intake: IntakeFiles | None = None
        self.events: list[Event] = []
        if intake is not None:
            names = {row: tag.name for row, tag in enumerate(tags)}
            kind = StuckIntake if stuck else IntakeFiles
            self.intake = kind(intake, "floor", tags=names, now_ns=time.monotonic_ns, emit=self.events.append)
            self.intake.open(safe)
            self.lane.begin(self.intake.begins_at)
        self._taken: list[Samples] = []
        self.source = MqttSource(
            link=link,
            tags=list(enumerate(tags)),
            lane=self.lane,
            intake=self.intake,
            now_ns=time.monotonic_ns,
            wall_offset_ns=lambda: WALL_OFFSET_NS,
            emit=self.events.append,
        )

    def samples(self) -> Samples:
        out = np.zeros(len(self.lane), SAMPLE)
        self._taken.append(out[: self.lane.take_into(out)])
        self._taken = [np.concatenate(self._taken)]
        return self._taken[0]

    def take(self, count: int) -> None:
        """What an engine takes that can do no more."""
        out = np.zeros(min(count, len(self.lane)), SAMPLE)
        self._taken.append(out[: self.lane.take_into(out)])

    def of(self, row: int) -> Samples:
        samples = self.samples()
        return samples[samples["row"] == row]

    def drop(self) -> None:
        """Lose the connection."""
        session = self.source._session
        assert session is not None
        assert session._transport is not None
        session._transport.abort()

    def good(self, row: int) -> list[float]:
        """Values of the row's good samples, in order."""
        samples = self.samples()
        return [float(x) for x in samples["value"][(samples["row"] == row) & (samples["quality"] == 192)]]

    def qualities(self, row: int) -> list[int]:
        samples = self.samples()
        return [int(q) for q in samples["quality"][samples["row"] == row]]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def messages_of(self, kind: str) -> list[str]:
        return [event.message for event in self.events if event.kind == kind]

    def reading(self, name: str) -> float:
        found = [r.value for r in self.source.readings() if r.name == f"fieldgate_mqtt_{name}"]
        assert found
        return sum(found)

    @property
    def is_connected(self) -> bool:
        return self.reading("connected") == 1


async def until(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    end_s = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end_s, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Rig]:
    """The source runs inside; a source that ends by itself fails the test."""
    task = asyncio.create_task(rig.source.run())
    try:
        yield rig
    finally:
        ended_early = task.done()
        task.cancel()
        await asyncio.wait({task})
        if ended_early:
            task.result()


def publisher(port: int, version: MqttVersion = MqttVersion.V311) -> aiomqtt.Client:
    protocol = aiomqtt.ProtocolVersion.V5 if version is MqttVersion.V5 else aiomqtt.ProtocolVersion.V311
    return aiomqtt.Client("127.0.0.1", port, protocol=protocol)


class ScriptedBroker:
    """A broker of few words, for what real ones do not do on demand: refuse a topic, fall silent, babble.

    It answers CONNECT, SUBSCRIBE (of one topic, unless codes are given) and PINGREQ, and nothing once `is_silent`.
    Bytes are sent with `send`.
    """

    def __init__(self, *, connack: bytes = b"\x20\x02\x00\x00", suback_codes: bytes | None = None) -> None:
        self.is_silent = False
        self.connections = 0
        self.port = 0
        self.received = bytearray()
        self.packets: list[tuple[int, bytes]] = []
        """(first byte, what follows the length) of all that came."""
        self.acks: list[tuple[int, int]] = []
        """(first byte, packet identifier) of each PUBACK, PUBREC and PUBCOMP."""
        self.subscribes_bytes: list[int] = []
        self.answers_all = False
        self._connack = connack
        self._suback_codes = suback_codes
        self._writer: asyncio.StreamWriter | None = None

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ScriptedBroker]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.drop()

    def send(self, frames: bytes) -> None:
        assert self._writer is not None
        self._writer.write(frames)

    async def drain(self) -> None:
        assert self._writer is not None
        await self._writer.drain()

    def drop(self) -> None:
        if self._writer is not None:
            self._writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
        try:
            while True:
                first = (await reader.readexactly(1))[0]
                body = await reader.readexactly(await _length(reader))
                self.received += bytes((first,)) + body
                self.packets.append((first, body))
                if first in (0x40, 0x50, 0x70):
                    self.acks.append((first, int.from_bytes(body[:2], "big")))
                answer = self._answer(first, body)
                if answer and not self.is_silent:
                    writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, first: int, body: bytes) -> bytes:
        match first >> 4:
            case 1:
                return self._connack
            case 8:
                is_v5 = self._connack[1] > 2
                self.subscribes_bytes.append(2 + len(body))
                if self.answers_all:
                    return _suback(body, is_v5)
                codes = b"\x00" if self._suback_codes is None else self._suback_codes
                properties = b"\x00" if is_v5 else b""
                answer = body[:2] + properties + codes
                return bytes((0x90, len(answer))) + answer
            case 12:
                return b"\xd0\x00"
        return b""


def _suback(body: bytes, is_v5: bool) -> bytes:
    """QoS 0 for every filter of a SUBSCRIBE."""
    at, codes = 2 + is_v5, b""
    while at < len(body):
        at += 3 + int.from_bytes(body[at : at + 2], "big")
        codes += b"\x00"
    answer = body[:2] + b"\x00" * is_v5 + codes
    return bytes((0x90, len(answer))) + answer


async def _length(reader: asyncio.StreamReader) -> int:
    value = 0
    for shift in (0, 7, 14, 21):
        byte = (await reader.readexactly(1))[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return value


def message(topic: str, payload: bytes, *, qos: int = 0, packet_id: int = 1, flags: int = 0) -> bytes:
    """A PUBLISH of MQTT 3.1.1."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + (packet_id.to_bytes(2, "big") if qos else b"") + payload
    return frame(0x30 | qos << 1 | flags, body)

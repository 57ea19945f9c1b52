"""Outputs of loops that the loop thread carries: by the session of a Modbus link, or by a session of MQTT.

By Modbus an output goes as an errand of the link's own session, before reads that are due. By MQTT each loop has a
session of its own, whose last will is the loop's fail-safe output: a gateway that dies or is cut off cannot write any
more, so the broker does, at once when the connection breaks and after one and a half `keep_alive` when it is silent. A
loop that holds its output leaves no will. The present output is what the tag itself says: the device reports it. What
it said last counts, a retained message too, since many a device speaks only when something changes.
"""

from __future__ import annotations

import asyncio
import math
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import aiomqtt
import numpy as np

from gateway.control.courier import Carrier, Courier, OutputFailedError
from gateway.control.handle import ControlExecutive
from gateway.control.reasons import Reason
from gateway.core.backoff import Backoff
from gateway.core.events import Emit, Event, Severity
from gateway.core.ports import Clock, LinkDown
from gateway.core.types import NS_PER_MS, NS_PER_S, is_bad
from gateway.core.view import PlantView
from gateway.mqttclient import Client, refused, terms
from gateway.protocol.modbus.errands import CrowdedError, ErrandError, NotConnectedError, Requester
from gateway.protocol.modbus.frames import DeviceRefusedError, ReplyError
from gateway.protocol.modbus.pdu import check_echo, read_data
from gateway.runtime.supervisor import Supervisor
from gateway.settings.schema import (
    MqttLink,
    MqttPoint,
    OutputBy,
    PidLoop,
    Settings,
    Tag,
)

RECONNECT: Final = Backoff(base_ns=200 * NS_PER_MS, cap_ns=5 * NS_PER_S)
ANSWER_S_MAX: Final = 5.0
"""How long a broker may take to acknowledge an output."""
PATIENT_S: Final = 1.0
LOOK_EVERY_S: Final = 0.02
FLOAT64_AT: Final = -8
"""In the write request of four registers that stands for a number by MQTT."""


class LineOutput:
    """By the session that polls the device's link."""

    def __init__(self, requester: Callable[[], Requester | None]) -> None:
        self._requester = requester
        self._patient_until_s = 0.0

    async def write(self, unit: int, pdu: bytes) -> None:
        try:
            check_echo(pdu, await self._request(unit, pdu))
        except (DeviceRefusedError, ReplyError) as error:
            raise OutputFailedError(_reason_of(error)) from error

    async def read(self, unit: int, pdu: bytes) -> bytes:
        try:
            return read_data(pdu, await self._request(unit, pdu))
        except (DeviceRefusedError, ReplyError) as error:
            raise OutputFailedError(_reason_of(error)) from error

    async def _request(self, unit: int, pdu: bytes) -> bytes:
        """At the start, and after a reload, the link's session may be a moment behind."""
        loop = asyncio.get_running_loop()
        self._patient_until_s = self._patient_until_s or loop.time() + PATIENT_S
        while True:
            requester = self._requester()
            try:
                if requester is None:
                    raise NotConnectedError("the link has no session")
                return await self._requested(requester, unit, pdu)
            except NotConnectedError as error:
                if loop.time() >= self._patient_until_s:
                    raise OutputFailedError(Reason.NOT_CONNECTED) from error
            await asyncio.sleep(LOOK_EVERY_S)

    async def _requested(self, requester: Requester, unit: int, pdu: bytes) -> bytes:
        try:
            return await requester.request(unit, pdu)
        except NotConnectedError:
            raise
        except CrowdedError as error:
            raise OutputFailedError(Reason.SEND_REFUSED) from error
        except ErrandError as error:
            raise OutputFailedError(Reason.NO_REPLY) from error


def _reason_of(error: DeviceRefusedError | ReplyError) -> Reason:
    return Reason.EXCEPTION if isinstance(error, DeviceRefusedError) else Reason.BAD_FRAME


class MqttOutput:
    """One loop's output by MQTT. `run` keeps the session; `lost` is called when one that was there is gone."""

    def __init__(
        self,
        link: MqttLink,
        loop: PidLoop,
        tag: Tag,
        *,
        present: Callable[[], float | None],
        lost: Callable[[], None],
        now_ns: Clock,
        emit: Emit,
    ) -> None:
        assert isinstance(tag.point, MqttPoint)
        self._link = link
        self._loop = loop
        self._point = tag.point
        self._present = present
        self._lost = lost
        self._now_ns = now_ns
        self._emit = emit
        self._client: Client | None = None
        self._was_tried = asyncio.Event()
        self._failures = 0
        self._is_told_down = False

    async def write(self, unit: int, pdu: bytes) -> None:
        """Returns when the broker has it (QoS 1)."""
        await self._was_tried.wait()
        client = self._client
        if client is None:
            raise OutputFailedError(Reason.NOT_CONNECTED)
        number = struct.unpack(">d", pdu[FLOAT64_AT:])[0]
        try:
            await client.publish(self._point.write_topic, payload_of(self._point, number), qos=1)
        except aiomqtt.MqttError as error:
            raise OutputFailedError(Reason.NO_REPLY) from error

    async def read(self, unit: int, pdu: bytes) -> bytes:
        await self._was_tried.wait()
        if self._client is None:
            raise OutputFailedError(Reason.NOT_CONNECTED)
        value = self._present()
        if value is None:
            raise OutputFailedError(Reason.NOT_KNOWN)
        return struct.pack(">d", (value - self._point.offset) / self._point.scale)

    async def run(self) -> None:
        """Until cancelled: a session, and another when it ends."""
        seed = zlib.crc32(self._loop.name.encode())
        while True:
            try:
                async with self._session() as client:
                    self._client, self._failures, self._is_told_down = client, 0, False
                    self._was_tried.set()
                    async for _ in client.messages:  # nothing is subscribed: it ends with the session
                        pass
            except aiomqtt.MqttError as error:
                self._tell_down(str(refused(self._link.broker.name, error)))
            except LinkDown as error:
                self._tell_down(str(error))
            self._was_tried.set()
            if self._client is not None:
                self._client = None
                self._lost()
            self._failures += 1
            await asyncio.sleep(RECONNECT.delay_ns(self._failures, seed) / NS_PER_S)

    def _tell_down(self, why: str) -> None:
        if not self._is_told_down:
            self._is_told_down = True
            what = f"the output of loop {self._loop.name} cannot be published: {why}; it keeps trying"
            self._emit(Event(self._now_ns(), Severity.WARNING, "control.link_down", self._loop.name, what))

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Client]:
        """Raises MqttError, LinkDown."""
        settings = await terms(self._link.broker, ANSWER_S_MAX)
        name = f"{settings.pop('identifier')}-{self._loop.name}"
        client = Client(identifier=name, will=self._will(), **settings)
        try:
            async with client:
                yield client
        finally:
            client.hang_up()

    def _will(self) -> aiomqtt.Will | None:
        output = self._loop.failsafe_output
        if output is None or self._loop.is_shadow:
            return None
        number = (output - self._point.offset) / self._point.scale
        return aiomqtt.Will(self._point.write_topic, payload_of(self._point, number), qos=1)


def payload_of(point: MqttPoint, number: float) -> str:
    return point.write_payload.replace("{value}", f"{number:.12g}")


class Outputs:
    """Of one plant: a carrier for each loop that needs one, and the MQTT sessions among them by loop."""

    def __init__(
        self,
        settings: Settings,
        view: PlantView,
        requester: Callable[[str], Requester | None],
        executive: ControlExecutive | None,
        *,
        now_ns: Clock,
        emit: Emit,
    ) -> None:
        """`executive` is None where no loop runs."""
        outbox = self._outbox = executive.outbox if executive is not None else None
        self.carriers: dict[str, Carrier] = {}
        self.sessions: dict[str, MqttOutput] = {}
        self.links: set[str] = set()
        """Links whose sessions carry outputs."""
        rows = {tag.name: row for row, tag in enumerate(settings.tags)} if settings.loops else {}
        link_of = settings.link_of
        links = {link.name: link for link in settings.links}
        for loop in settings.loops:
            if outbox is None or loop.is_internal or loop.output_by is OutputBy.EXECUTIVE:
                continue
            row = rows[loop.output]
            tag = settings.tags[row]
            link = links[link_of[tag.device]]
            if isinstance(link, MqttLink):
                self.sessions[loop.name] = self.carriers[loop.name] = MqttOutput(
                    link,
                    loop,
                    tag,
                    present=_present(view, row),
                    lost=partial(outbox.lost, loop.name),
                    now_ns=now_ns,
                    emit=emit,
                )
            else:
                self.links.add(link.name)
                self.carriers[loop.name] = LineOutput(partial(requester, link.name))

    def start(self, supervisor: Supervisor) -> None:
        """Before the executive asks anything."""
        if self._outbox is not None and self.carriers:
            supervisor.start("outputs", Courier(self._outbox, self.carriers).run)
        for name, session in self.sessions.items():
            supervisor.start(f"output of loop {name}", session.run)

    async def stop(self, supervisor: Supervisor, kept: Collection[str] = ()) -> None:
        """After the executive has written its last; the sessions of the links `kept` go on."""
        if self.carriers:
            await supervisor.stop("outputs")
        links = (f"link {name}" for name in self.links if name not in kept)
        await supervisor.stop(*(f"output of loop {name}" for name in self.sessions), *links)


def _present(view: PlantView, row: int) -> Callable[[], float | None]:
    rows = np.array([row], np.int32)

    def present() -> float | None:
        live = view.live(rows)[0]
        return None if is_bad(int(live["quality"])) or math.isnan(live["value"]) else float(live["value"])

    return present

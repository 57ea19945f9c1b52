"""The loops of `bench control`: what the executive and its peer have in common."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core.types import NS_PER_S, Kind
from gateway.settings.schema import ModbusLink, ModbusPoint, PidLoop, RegisterType, Table, Tag

SETPOINT = 50.0
GAIN = 2.0
INTEGRAL_S = 5.0
OUTPUTS_AT = 100
LOOPS_PER_LINK = 8


@dataclass(frozen=True)
class Case:
    """So many loops at one period, over as few links as hold them."""

    loops: int
    period_ns: int

    @property
    def links(self) -> int:
        return next(n for n in range(-(-self.loops // LOOPS_PER_LINK), self.loops + 1) if self.loops % n == 0)

    @property
    def loops_per_link(self) -> int:
        return self.loops // self.links

    def loop_settings(self) -> list[PidLoop]:
        return [
            PidLoop(
                name=f"loop{n}",
                input=f"plc{n // self.loops_per_link}.in{n}",
                output=f"plc{n // self.loops_per_link}.out{n}",
                setpoint=SETPOINT,
                setpoint_min=0.0,
                setpoint_max=100.0,
                kp=GAIN,
                ti_s=INTEGRAL_S,
                every_ns=self.period_ns,
                output_min=0.0,
                output_max=100.0,
                stale_after_ns=NS_PER_S,
            )
            for n in range(self.loops)
        ]

    def tags(self) -> dict[str, tuple[int, Tag]]:
        made: dict[str, tuple[int, Tag]] = {}
        for n in range(self.loops):
            link, place = divmod(n, self.loops_per_link)
            value = ModbusPoint(unit=1, table=Table.INPUT, address=2 * place, type=RegisterType.FLOAT32, every_ns=1)
            drive = ModbusPoint(
                unit=1,
                table=Table.HOLDING,
                address=OUTPUTS_AT + place,
                type=RegisterType.UINT16,
                every_ns=1,
                scale=0.1,
                writable=True,
            )
            for role, point in (("in", value), ("out", drive)):
                name = f"plc{link}.{role}{n}"
                tag = Tag(
                    name=name, device=f"plc{link}", point=point, windows_ns=(), stale_after_ns=NS_PER_S, kind=Kind.F64
                )
                made[name] = (len(made), tag)
        return made

    def link_settings(self, port: int) -> dict[str, ModbusLink]:
        return {
            f"plc{n}": ModbusLink(
                name=f"plc{n}",
                host="127.0.0.1",
                port=port,
                connect_timeout_ns=NS_PER_S,
                response_timeout_ns=NS_PER_S // 2,
                requests_in_flight=8,
            )
            for n in range(self.links)
        }

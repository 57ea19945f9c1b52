"""Plain-Python twins of the control kernels: the PID step as a textbook writes it, registers by `struct`."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from fractions import Fraction

from gateway.protocol.modbus.points import WireType


@dataclass
class Pid:
    """u = kp · (b · sp − pv + ∫e dt / ti − td · d(pv)/dt) with limits, rate limit, conditional integration."""

    action: float
    setpoint: float
    kp: float
    ti_s: float
    td_s: float
    output_min: float
    output_max: float
    rate_max: float
    setpoint_weight: float = 1.0
    derivative_filter: float = 8.0
    tracking_s: float = 0.0
    feed_forward: float = 0.0
    integral: float = 0.0
    derivative: float = 0.0
    measured: float = 0.0
    output: float = 0.0

    def track(self, measured: float, output: float) -> None:
        weighted = self.action * (self.setpoint_weight * self.setpoint - measured)
        self.integral = output - self.kp * weighted - self.feed_forward
        self.derivative = 0.0
        self.measured = measured
        self.output = output

    def step(self, measured: float, dt_s: float) -> float:
        if dt_s <= 0.0:
            return self.output
        error = self.action * (self.setpoint - measured)
        derivative = 0.0
        if self.td_s > 0.0:
            lag_s = self.td_s / self.derivative_filter
            rise = self.action * (measured - self.measured)
            derivative = (lag_s * self.derivative - self.kp * self.td_s * rise) / (lag_s + dt_s)
        if math.isinf(self.ti_s):
            growth = -self.integral * dt_s / (10.0 + dt_s)
        else:
            growth = self.kp * error * dt_s / self.ti_s
        weighted = self.action * (self.setpoint_weight * self.setpoint - measured)
        wanted = self.kp * weighted + self.integral + growth + derivative + self.feed_forward
        travel = self.rate_max * dt_s
        near = min(max(wanted, self.output - travel), self.output + travel)
        output = min(max(near, self.output_min), self.output_max)
        if self.tracking_s > 0.0:
            growth -= (wanted - output) * dt_s / (self.tracking_s + dt_s)
        elif (wanted > output and growth > 0.0) or (wanted < output and growth < 0.0):
            growth = 0.0
        self.integral += growth
        self.derivative = derivative
        self.measured = measured
        self.output = output
        return output


FORMATS: dict[WireType, str] = {
    WireType.INT16: "h",
    WireType.UINT16: "H",
    WireType.INT32: "i",
    WireType.UINT32: "I",
    WireType.INT64: "q",
    WireType.UINT64: "Q",
    WireType.FLOAT32: "f",
    WireType.FLOAT64: "d",
}


def ordered(data: bytes, swap_bytes: bool, swap_words: bool) -> bytes:
    """Big-endian bytes as a device with that order sends them, and back."""
    registers = [data[i : i + 2] for i in range(0, len(data), 2)]
    if swap_words:
        registers.reverse()
    if swap_bytes:
        registers = [register[::-1] for register in registers]
    return b"".join(registers)


def encode(number: float, kind: WireType) -> bytes:
    """The nearest number that the type can hold, big-endian; halves to even."""
    code = FORMATS[kind]
    if kind is WireType.FLOAT64:
        return struct.pack(">d", number)
    if kind is WireType.FLOAT32:
        largest = 3.4028234663852886e38
        return struct.pack(">f", min(max(number, -largest), largest))
    bits = 8 * struct.calcsize(code)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if code.islower() else (0, (1 << bits) - 1)
    if math.isinf(number):
        return struct.pack(">" + code, high if number > 0 else low)
    return struct.pack(">" + code, min(max(round(Fraction(number)), low), high))

"""The control kernels against their plain twins, and what must hold whatever the numbers are."""

from __future__ import annotations

import math
import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.control import frames, pid
from gateway.core.types import Kind
from gateway.protocol.modbus.codes import Function
from gateway.protocol.modbus.points import WireType
from tests.reference import control as plain

finite = st.floats(-1e6, 1e6)
measured = st.floats(-1e3, 1e3)
times = st.floats(0.0, 2.0)
compiled = settings(deadline=None)
"""The first example may have to wait for the compiler."""


@st.composite
def controllers(draw: st.DrawFn) -> plain.Pid:
    low = draw(st.floats(-200.0, 100.0))
    return plain.Pid(
        action=draw(st.sampled_from([1.0, -1.0])),
        setpoint=draw(measured),
        kp=draw(st.floats(0.0, 50.0)),
        ti_s=draw(st.one_of(st.just(math.inf), st.floats(0.01, 1e3))),
        td_s=draw(st.one_of(st.just(0.0), st.floats(0.001, 10.0))),
        output_min=low,
        output_max=low + draw(st.floats(0.0, 300.0)),
        rate_max=draw(st.one_of(st.just(math.inf), st.floats(0.01, 1e3))),
        setpoint_weight=draw(st.one_of(st.just(1.0), st.floats(0.0, 1.0))),
        derivative_filter=draw(st.one_of(st.just(8.0), st.floats(1.0, 100.0))),
        tracking_s=draw(st.one_of(st.just(0.0), st.floats(0.01, 100.0))),
        feed_forward=draw(st.one_of(st.just(0.0), st.floats(-50.0, 50.0))),
    )


def block_of(controller: plain.Pid) -> np.ndarray:
    return np.array([[getattr(controller, field) for field in pid.FIELDS]])


def test_every_field_has_the_number_of_its_name() -> None:
    assert [getattr(pid, field.upper()) for field in pid.FIELDS] == list(range(len(pid.FIELDS)))


@compiled
@given(controllers(), measured, finite, st.lists(st.tuples(measured, times), max_size=20))
def test_the_step_is_the_textbook_step_bit_for_bit(
    twin: plain.Pid, start: float, output: float, inputs: list[tuple[float, float]]
) -> None:
    state = block_of(twin)
    pid.track(state, 0, start, output)
    twin.track(start, output)
    for value, dt_s in inputs:
        assert pid.step(state, 0, value, dt_s) == twin.step(value, dt_s)
        assert np.array_equal(state, block_of(twin))


@compiled
@given(controllers(), measured, st.lists(st.tuples(measured, st.floats(1e-4, 2.0)), min_size=1, max_size=20))
def test_the_output_stays_within_its_range_and_its_rate(
    controller: plain.Pid, start: float, inputs: list[tuple[float, float]]
) -> None:
    state = block_of(controller)
    last = controller.output_min
    pid.track(state, 0, start, last)
    for value, dt_s in inputs:
        output = pid.step(state, 0, value, dt_s)
        assert controller.output_min <= output <= controller.output_max
        assert abs(output - last) <= controller.rate_max * dt_s * (1 + 1e-9) + 1e-9
        last = output


@compiled
@given(controllers(), measured, st.floats(0.0, 1.0), st.floats(1e-4, 0.1))
def test_after_tracking_the_first_step_starts_from_the_output_that_was_there(
    controller: plain.Pid, value: float, share: float, dt_s: float
) -> None:
    state = block_of(controller)
    span = controller.output_max - controller.output_min
    output = controller.output_min + share * span
    state[0, pid.INTEGRAL] = 1e9  # whatever was there before
    pid.track(state, 0, value, output)
    moved = abs(pid.step(state, 0, value, dt_s) - output)
    kick = abs(controller.kp * (controller.setpoint - value))
    bias = (
        abs(output)
        + abs(controller.feed_forward)
        + abs(controller.kp * (controller.setpoint_weight * controller.setpoint - value))
    )
    own = kick * dt_s / controller.ti_s if math.isfinite(controller.ti_s) else bias * dt_s / 10.0
    assert moved <= own + 1e-6


def test_an_integral_that_was_held_back_leaves_the_limit_as_soon_as_the_error_turns() -> None:
    controller = plain.Pid(1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 10.0, math.inf)
    state = block_of(controller)
    for _ in range(1_000):
        pid.step(state, 0, -5.0, 0.1)
    assert state[0, pid.OUTPUT] == 10.0
    steps = 0
    while pid.step(state, 0, 3.0, 0.1) >= 10.0:
        steps += 1
    assert steps <= 1, "a wound-up integral of some 600 would take hundreds of steps"


def test_an_integral_behind_the_rate_limit_does_not_wind_up_either() -> None:
    controller = plain.Pid(1.0, 1.0, 1.0, 0.5, 0.0, 0.0, 100.0, 1.0)
    state = block_of(controller)
    pid.track(state, 0, 0.0, 0.0)
    for _ in range(300):
        pid.step(state, 0, -5.0, 0.1)
    assert state[0, pid.INTEGRAL] < 40.0, "what the rate limit let through, not the whole area of the error"


def test_from_manual_to_auto_the_output_does_not_jump() -> None:
    state = block_of(plain.Pid(1.0, 60.0, 3.0, 5.0, 0.0, 0.0, 100.0, math.inf))
    state[0, pid.INTEGRAL] = 80.0  # of the time before somebody went to manual
    pid.track(state, 0, 40.0, 25.0)
    assert abs(pid.step(state, 0, 40.0, 0.01) - 25.0) <= 3.0 * 20.0 * 0.01 / 5.0 + 1e-9


def test_a_setpoint_step_gives_no_derivative_kick() -> None:
    controller = plain.Pid(1.0, 0.0, 1.0, math.inf, 5.0, -100.0, 100.0, math.inf)
    state = block_of(controller)
    pid.track(state, 0, 0.0, 0.0)
    state[0, pid.SETPOINT] = 1.0
    assert abs(pid.step(state, 0, 0.0, 0.01) - 1.0) < 1e-9


def test_a_reverse_acting_loop_raises_its_output_when_the_measurement_is_low() -> None:
    for action, rises in ((1.0, True), (-1.0, False)):
        state = block_of(plain.Pid(action, 50.0, 1.0, 10.0, 0.0, 0.0, 100.0, math.inf))
        pid.track(state, 0, 40.0, 50.0)
        assert (pid.step(state, 0, 40.0, 1.0) > 50.0) is rises


def test_a_loop_without_integral_action_ends_up_where_its_gain_says() -> None:
    state = block_of(plain.Pid(1.0, 10.0, 2.0, math.inf, 0.0, 0.0, 100.0, math.inf))
    pid.track(state, 0, 0.0, 0.0)
    assert pid.step(state, 0, 0.0, 0.01) < 0.1
    for _ in range(20_000):
        output = pid.step(state, 0, 0.0, 0.01)
    assert abs(output - 20.0) < 0.01


kinds = st.sampled_from(frames.NUMERIC)


@compiled
@given(kinds, st.binary(min_size=8, max_size=8), st.booleans(), st.booleans())
def test_registers_decode_as_struct_does_in_every_order(
    kind: WireType, data: bytes, swap_bytes: bool, swap_words: bool
) -> None:
    size = struct.calcsize(plain.FORMATS[kind])
    wire = np.frombuffer(plain.ordered(data[:size], swap_bytes, swap_words), np.uint8).copy()
    number = frames.NUMERIC.index(kind)
    order = frames.SWAP_BYTES * swap_bytes | frames.SWAP_WORDS * swap_words
    bits = frames.load_bits(wire, 0, size // 2, order)
    (expected,) = struct.unpack(">" + plain.FORMATS[kind], data[:size])
    value = frames.number_of(bits, number)
    assert value == float(expected) or (math.isnan(value) and math.isnan(expected))
    back = np.zeros(size, np.uint8)
    frames.store_bits(back, 0, size // 2, order, bits)
    assert back.tobytes() == wire.tobytes()


@compiled
@given(
    kinds, st.one_of(st.floats(allow_nan=False), st.floats(-70_000, 70_000), st.integers(-(2**63), 2**64).map(float))
)
def test_numbers_encode_to_the_nearest_that_the_type_holds(kind: WireType, number: float) -> None:
    registers = frames.REGISTERS[frames.NUMERIC.index(kind)]
    out = np.zeros(2 * registers, np.uint8)
    frames.store_bits(out, 0, registers, 0, frames.bits_of(number, frames.NUMERIC.index(kind)))
    assert out.tobytes() == plain.encode(number, kind)


@compiled
@given(st.binary(min_size=7, max_size=300))
def test_any_bytes_are_a_whole_frame_an_unfinished_one_or_not_modbus(data: bytes) -> None:
    size = frames.frame_bytes(np.frombuffer(data, np.uint8).copy(), 0, len(data))
    assert size in (frames.INCOMPLETE, frames.NOT_MODBUS) or 9 <= size <= min(len(data), 260)


REQUEST = np.frombuffer(frames.read_request(7, Function.READ_HOLDING_REGISTERS, 100, 2), np.uint8).copy()
REPLY = bytes([0, 1, 0, 0, 0, 7, 7, 3, 4, 1, 2, 3, 4])


@compiled
@given(st.integers(0, len(REPLY) - 1), st.integers(0, 255))
def test_a_reply_with_any_wrong_byte_in_its_head_is_not_taken(place: int, byte: int) -> None:
    changed = bytearray(REPLY)
    changed[place] = byte
    taken = frames.check_read(np.frombuffer(bytes(changed), np.uint8).copy(), 0, REQUEST) == frames.MATCHES
    # Transaction and protocol ids are judged elsewhere; the last four bytes are the value itself.
    assert taken == (bytes(changed[4:9]) == REPLY[4:9])


@compiled
@given(st.integers(0, 2**64 - 1))
def test_integers_that_are_not_scaled_stay_exact_in_their_cell(number: int) -> None:
    word = int(np.uint64(number).view(np.int64))
    cell = frames.cell_of(float(number), word, frames.UINT64, 1.0, 0.0, Kind.U64)
    assert int(np.int64(cell).view(np.uint64)) == number
    low = frames.cell_of(0.0, number & 0xFFFF, frames.INT16, 1.0, 0.0, Kind.I64)
    assert low == struct.unpack(">h", struct.pack(">H", number & 0xFFFF))[0]


def test_the_cell_of_a_float_tag_is_its_value() -> None:
    assert np.int64(frames.cell_of(21.5, 215, frames.INT16, 0.1, 0.0, Kind.F64)).view(np.float64) == 21.5

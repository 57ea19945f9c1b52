"""The register image: what a request reads, encoded from consistent copies of the plant.

Each area of each unit is a NumPy array of blocks whose fields are big-endian, so that assigning a column encodes it. An
area is refreshed when it is read and older than `REFRESH_NS`; a request lies within one area and is answered in one
go, so no value of several registers is ever half old and half new, and an area that nobody reads costs nothing.

What a value looks like when there is none: with a bad quality a float reads NaN, an int64 -2^63, a uint64 2^64-1 (the
"not available" of SunSpec), a text nothing but zeros, and the quality beside it says why. An age counts from the
value's own source time to now; it goes on growing while nothing arrives, and stops at 2^32-1 ms, which is also the age
of what never arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from gateway.core.model import Model
from gateway.core.ports import Clock
from gateway.core.state import FLAG_MAINTENANCE
from gateway.core.types import NS_PER_MS, NS_PER_S, QUALITY_UNCERTAIN_MIN, Kind, Quality
from gateway.core.view import ALARM_HIGH, ALARM_LOW, ALARM_SCORE, LOOP, ControlView, PlantView
from gateway.protocol.modbus.codes import ModbusException
from gateway.protocol.modbus.server import RequestError
from gateway.serving.scada.layout import AREAS, REGISTERS, TYPE_OF_KIND, Area, Type, area_at
from gateway.serving.scada.map import Block, RegisterMap
from gateway.serving.scada.watchdog import ScadaWatchdog

if TYPE_CHECKING:
    from gateway.core.symbols import TextOf  # which brings Numba; the register map does without

REFRESH_NS: Final = 20 * NS_PER_MS
"""An image serves requests for this long."""

INT64_NONE: Final = np.int64(-(2**63))
STRING_BYTES: Final = 2 * REGISTERS[Type.STRING]
TEXT_BYTES: Final = 2 * REGISTERS[Type.TEXT]
UINT64_NONE: Final = np.uint64(2**64 - 1)
_UINT16_MAX: Final = 2**16 - 1
_UINT32_MAX: Final = 2**32 - 1

_Array: TypeAlias = npt.NDArray[Any]


class Encoder(Protocol):
    """Writes the present state of one area of one unit into its blocks and bits."""

    def __call__(self, blocks: _Array, bits: _Array, now_ns: int) -> None: ...


class AreaImage:
    """One area of one unit: its registers, its bits, and how to bring them up to date."""

    def __init__(self, area: Area, end: int, encode: Encoder) -> None:
        layout = AREAS[area]
        self._start = layout.start
        self._end = end
        self._blocks = np.zeros((end - layout.start) // layout.pitch, layout.dtype())
        self._octets = self._blocks.view(np.uint8).reshape(-1).data
        self._bits = np.zeros((len(self._blocks), layout.pitch), np.uint8)
        self._flat_bits = self._bits.reshape(-1)
        self._encode = encode
        self._fresh_until_ns = 0
        self.refreshes = 0

    def registers(self, address: int, count: int, now_ns: int) -> bytes:
        """`count` registers as on the wire. Raises RequestError (2) when they are not all mapped."""
        first = self._first(address, count)
        self._refresh(now_ns)
        return bytes(self._octets[2 * first : 2 * (first + count)])

    def bits(self, address: int, count: int, now_ns: int) -> bytes:
        """`count` bits packed as on the wire. Raises RequestError (2) when they are not all mapped."""
        first = self._first(address, count)
        self._refresh(now_ns)
        return np.packbits(self._flat_bits[first : first + count], bitorder="little").tobytes()

    def expire(self) -> None:
        """Have the next read see the present: it follows a write."""
        self._fresh_until_ns = 0

    def _first(self, address: int, count: int) -> int:
        if address < self._start or address + count > self._end:
            raise outside(address, count)
        return address - self._start

    def _refresh(self, now_ns: int) -> None:
        if now_ns >= self._fresh_until_ns:
            self._encode(self._blocks, self._bits, now_ns)
            self._fresh_until_ns = now_ns + REFRESH_NS
            self.refreshes += 1


class Image:
    """All units. One thread (the loop's) reads it."""

    def __init__(
        self,
        *,
        registers: RegisterMap,
        plant: PlantView,
        text_of: TextOf,
        control: ControlView | None,
        model: Model,
        loops: Sequence[str],
        now_ns: Clock,
        heartbeat: Callable[[], int],
        watchdog: ScadaWatchdog | None = None,
    ) -> None:
        self._now_ns = now_ns
        devices = _Shared(plant.devices)
        started_ns = now_ns()
        self._areas: dict[tuple[int, Area], AreaImage] = {}
        for unit, blocks in registers.blocks.items():
            encoders: dict[Area, Encoder] = {
                Area.GATEWAY: _GatewayEncoder(heartbeat, started_ns, watchdog),
                Area.LOOP: _LoopEncoder(_of(Area.LOOP, blocks), loops, control),
                Area.DEVICE: _DeviceEncoder(_of(Area.DEVICE, blocks), model, devices),
                Area.TAG: _TagEncoder(_of(Area.TAG, blocks), model, plant, text_of),
                Area.MULTIVARIATE: _MultivariateEncoder(_of(Area.MULTIVARIATE, blocks), model, plant),
                Area.WINDOW: _WindowEncoder(_of(Area.WINDOW, blocks), model, plant, text_of),
            }
            for area, encode in encoders.items():
                if (unit, area) in registers.ends:
                    self._areas[unit, area] = AreaImage(area, registers.ends[unit, area], encode)
        self._units = frozenset(registers.blocks)

    @property
    def refreshes(self) -> int:
        return sum(area.refreshes for area in self._areas.values())

    def registers(self, unit: int, address: int, count: int) -> bytes:
        """Holding and input registers. Raises RequestError: 10 for an unknown unit, 2 for what is not mapped."""
        return self._area(unit, address, count).registers(address, count, self._now_ns())

    def bits(self, unit: int, address: int, count: int) -> bytes:
        """Discrete inputs and coils. Raises RequestError as `registers` does."""
        return self._area(unit, address, count).bits(address, count, self._now_ns())

    def expire(self) -> None:
        for area in self._areas.values():
            area.expire()

    def _area(self, unit: int, address: int, count: int) -> AreaImage:
        area = area_at(address)
        if area is not None and (unit, area) in self._areas:
            return self._areas[unit, area]
        if unit not in self._units:
            raise RequestError(ModbusException.GATEWAY_PATH_UNAVAILABLE, f"there is no unit {unit}")
        raise outside(address, count)


def outside(address: int, count: int) -> RequestError:
    return RequestError(ModbusException.ILLEGAL_DATA_ADDRESS, f"{count} from {address} are not all in the map")


class _Shared:
    """Device records are the same for all units and large: one copy serves them for as long as an image does."""

    def __init__(self, fetch: Callable[[], _Array]) -> None:
        self._fetch = fetch
        self._copy: _Array | None = None
        self._fresh_until_ns = 0

    def __call__(self, now_ns: int) -> _Array:
        if self._copy is None or now_ns >= self._fresh_until_ns:
            self._copy = self._fetch()
            self._fresh_until_ns = now_ns + REFRESH_NS
        return self._copy


class _GatewayEncoder:
    def __init__(self, heartbeat: Callable[[], int], started_ns: int, watchdog: ScadaWatchdog | None) -> None:
        self._heartbeat = heartbeat
        self._watchdog = watchdog
        self._started_ns = started_ns

    def __call__(self, blocks: _Array, bits: _Array, now_ns: int) -> None:
        blocks["heartbeat:uint16"] = self._heartbeat() & _UINT16_MAX
        blocks["uptime_s:uint32"] = min((now_ns - self._started_ns) // NS_PER_S, _UINT32_MAX)
        blocks["watchdog_age_ms:uint32"] = _UINT32_MAX
        if self._watchdog is not None:
            blocks["watchdog:uint16"] = self._watchdog.count
            blocks["watchdog_age_ms:uint32"] = min(self._watchdog.age_ns() // NS_PER_MS, _UINT32_MAX)


class _LoopEncoder:
    def __init__(self, blocks: Sequence[Block], loops: Sequence[str], control: ControlView | None) -> None:
        self._at = _block_numbers(blocks)
        self._loops = np.array([loops.index(block.subject) for block in blocks], np.intp)
        self._control = control

    def __call__(self, blocks: _Array, bits: _Array, now_ns: int) -> None:
        loops = _no_loops(len(self._loops)) if self._control is None else self._control.loops()[self._loops]
        at = self._at
        blocks["setpoint:float32"][at] = _float32(loops["setpoint"])
        blocks["output:float32"][at] = _float32(loops["output"])
        blocks["mode:uint16"][at] = loops["mode"]
        blocks["quality:uint16"][at] = loops["quality"]
        blocks["process_value:float32"][at] = _float32(_or_nan(loops["process_value"], loops["quality"]))
        blocks["age_ms:uint32"][at] = _age_ms(loops["input_ns"], loops["quality"], now_ns)


class _DeviceEncoder:
    def __init__(self, blocks: Sequence[Block], model: Model, devices: Callable[[int], _Array]) -> None:
        index_of = {device.name: index for index, device in enumerate(model.devices)}
        self._at = _block_numbers(blocks)
        self._devices = np.array([index_of[block.subject] for block in blocks], np.intp)
        self._fetch = devices

    def __call__(self, blocks: _Array, bits: _Array, now_ns: int) -> None:
        devices = self._fetch(now_ns)[self._devices]
        at = self._at
        blocks["quality:uint16"][at] = devices["quality"]
        blocks["alarm:uint16"][at] = devices["alarms"]
        blocks["score:float32"][at] = _float32(devices["score"])
        blocks["persistent:float32"][at] = _float32(devices["persistent"])
        blocks["reasons:uint16"][at] = devices["reasons"]
        blocks["tags_good:uint16"][at] = np.minimum(devices["tags_good"], _UINT16_MAX)
        blocks["tags:uint16"][at] = np.minimum(devices["tags"], _UINT16_MAX)
        _alarm_bits(bits, at, devices["alarms"], devices["quality"])
        bits[at, 5] = (devices["flags"] & FLAG_MAINTENANCE) != 0


class _TagEncoder:
    def __init__(self, blocks: Sequence[Block], model: Model, plant: PlantView, text_of: TextOf) -> None:
        self._plant = plant
        self._text_of = text_of
        self._at = _block_numbers(blocks)
        self._rows = np.array([model.row_of[block.subject] for block in blocks], np.int32)
        kind_of_type = {value_type: kind for kind, value_type in TYPE_OF_KIND.items()}
        kinds = np.array([kind_of_type[block.value_type] for block in blocks], np.int64)
        self._of_kind = {kind: np.flatnonzero(kinds == kind) for kind in Kind}

    def __call__(self, blocks: _Array, bits: _Array, now_ns: int) -> None:
        live = self._plant.live(self._rows)
        at = self._at
        quality = live["quality"]
        floats, signed, unsigned = (self._of_kind[kind] for kind in (Kind.F64, Kind.I64, Kind.U64))
        bad = quality < QUALITY_UNCERTAIN_MIN
        blocks["value:float32"][at[floats]] = _float32(_or_nan(live["value"][floats], quality[floats]))
        blocks["value:int64"][at[signed]] = np.where(bad[signed], INT64_NONE, live["bits"][signed])
        unsigned_bits = live["bits"][unsigned].view(np.uint64)
        blocks["value:uint64"][at[unsigned]] = np.where(bad[unsigned], UINT64_NONE, unsigned_bits)
        texts = self._of_kind[Kind.SYMBOL]
        if len(texts):
            blocks["value:string"][at[texts]] = _texts(live[texts], STRING_BYTES, self._text_of)
        blocks["quality:uint16"][at] = quality
        blocks["alarm:uint16"][at] = live["alarms"]
        blocks["age_ms:uint32"][at] = _age_ms(live["source_ns"], quality, now_ns)
        blocks["score:float32"][at] = _float32(live["score"])
        _alarm_bits(bits, at, live["alarms"], quality)


class _MultivariateEncoder:
    def __init__(self, blocks: Sequence[Block], model: Model, plant: PlantView) -> None:
        self._plant = plant
        self._at = _block_numbers(blocks)
        index_of = {model.devices[number].name: place for place, number in enumerate(model.multivariate_devices)}
        self._places = np.array([index_of[block.subject] for block in blocks], np.intp)
        number_of = np.zeros(len(model.tags) + 1, np.int64)
        for device in model.devices:
            number_of[list(device.together)] = np.arange(1, len(device.together) + 1)
        self._number_of = number_of

    def __call__(self, blocks: _Array, bits: _Array, now_ns: int) -> None:
        scores = self._plant.multivariate()[self._places]
        at = self._at
        unknown = np.isnan(scores["score"])
        blocks["score:float32"][at] = _float32(scores["score"])
        blocks["score_once_h:uint16"][at] = _whole_hours(scores["once_h"])
        blocks["quality:uint16"][at] = np.where(unknown, Quality.BAD_NOT_INITIALISED, Quality.GOOD)
        for name in ("first", "second", "third"):
            blocks[f"{name}_tag:uint16"][at] = self._number_of[scores[f"row_{name}"]]
            blocks[f"{name}_percent:uint16"][at] = np.rint(100 * scores[f"share_{name}"])


class _WindowEncoder:
    """Windows, and the texts that stand in the same area."""

    def __init__(self, blocks: Sequence[Block], model: Model, plant: PlantView, text_of: TextOf) -> None:
        self._plant = plant
        self._text_of = text_of
        texts = [block for block in blocks if block.value_type is Type.TEXT]
        self._text_at = _block_numbers(texts)
        self._text_rows = np.array([model.row_of[block.subject] for block in texts], np.int32)
        blocks = [block for block in blocks if block.value_type is not Type.TEXT]
        self._at = _block_numbers(blocks)
        names = list(dict.fromkeys(block.subject for block in blocks))
        self._rows = np.array([model.row_of[name] for name in names], np.int32)
        # The view answers with every window of every row; `first` is where a row's begin.
        first = 0
        place: dict[tuple[str, int], int] = {}
        for name in names:
            windows_ns = model.tags[model.row_of[name]].windows_ns
            place |= {(name, window_ns): first + number for number, window_ns in enumerate(windows_ns)}
            first += len(windows_ns)
        self._of_block = np.array([place[block.subject, block.window_ns] for block in blocks], np.intp)

    def __call__(self, blocks: _Array, bits: _Array, now_ns: int) -> None:
        windows = self._plant.aggregates(self._rows)[self._of_block]
        at = self._at
        for name in ("mean", "sd", "min", "max", "rate", "ewma"):
            blocks[f"{name}:float32"][at] = _float32(windows[name])
        blocks["count:uint32"][at] = np.minimum(windows["count"], _UINT32_MAX)
        blocks["quality:uint16"][at] = windows["quality"]
        blocks["persistent:float32"][at] = _float32(windows["persistent"])
        blocks["reasons:uint16"][at] = windows["reasons"]
        blocks["score_once_h:uint16"][at] = _whole_hours(windows["score_once_h"])
        blocks["persistent_once_h:uint16"][at] = _whole_hours(windows["persistent_once_h"])
        if len(self._text_rows):
            live = self._plant.live(self._text_rows)
            blocks["text:text"][self._text_at] = _texts(live, TEXT_BYTES, self._text_of)


def _of(area: Area, blocks: Sequence[Block]) -> list[Block]:
    return [block for block in blocks if block.area is area]


def _block_numbers(blocks: Sequence[Block]) -> npt.NDArray[np.intp]:
    return np.array([(block.address - AREAS[block.area].start) // AREAS[block.area].pitch for block in blocks], np.intp)


def _no_loops(count: int) -> _Array:
    """What loops look like while there is no executive."""
    loops = np.zeros(count, LOOP)
    for name in ("setpoint", "process_value", "output"):
        loops[name] = np.nan
    loops["quality"] = Quality.BAD_NOT_INITIALISED
    return loops


def _texts(live: _Array, bytes_max: int, text_of: TextOf) -> list[bytes]:
    """The beginning of each text, cut at a character."""
    texts = [
        (text_of(bits) or "") if quality >= QUALITY_UNCERTAIN_MIN else ""
        for bits, quality in zip(live["bits"].tolist(), live["quality"].tolist(), strict=True)
    ]
    return [text.encode()[:bytes_max].decode("utf-8", "ignore").encode() for text in texts]


def _float32(values: _Array) -> _Array:
    """What passes the range of float32 becomes an infinity: visibly too large, where a wrapped number would lie."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _whole_hours(hours: _Array) -> _Array:
    """Rounded down; what is not known is the highest number."""
    return np.where(np.isnan(hours), _UINT16_MAX, np.clip(np.nan_to_num(hours), 0, _UINT16_MAX - 1))


def _or_nan(values: _Array, quality: _Array) -> _Array:
    return np.where(quality < QUALITY_UNCERTAIN_MIN, np.nan, values)


def _age_ms(source_ns: _Array, quality: _Array, now_ns: int) -> _Array:
    age_ms = np.clip((now_ns - source_ns) // NS_PER_MS, 0, _UINT32_MAX)
    never = (source_ns <= 0) | (quality == Quality.BAD_NOT_INITIALISED)
    return np.where(never, _UINT32_MAX, age_ms)


def _alarm_bits(bits: _Array, at: _Array, alarms: _Array, quality: _Array) -> None:
    """In the order of the layout's bool fields."""
    bits[at, 0] = alarms != 0
    bits[at, 1] = (alarms & ALARM_LOW) != 0
    bits[at, 2] = (alarms & ALARM_HIGH) != 0
    bits[at, 3] = (alarms & ALARM_SCORE) != 0
    bits[at, 4] = quality < QUALITY_UNCERTAIN_MIN

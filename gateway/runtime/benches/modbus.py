"""What a Modbus read costs, ours against pymodbus's asynchronous client: same simulator, same reads, in turn.

A simulator at compiled speed (`hil.devices.fast_modbus`) runs in a process of its own. Both clients hold the same
number of connections to it and read 100 registers each time; CPU is that of this process, all of it: socket calls,
schedule, checking, decoding, and on our side also the way through the lane. Two ways of asking, interleaved:

- paced: every connection on a period, as a plant is polled; each read pays for its own wake-up;
- flat out: the next read as soon as the last one is answered, on our side at the next millisecond.

Beside them, what no client on the loop can go below (`floor`): the same bytes sent and received flat out by a bare
protocol that looks at nothing. Then, at the plan's own pace: a thousand endpoints every 100 ms, one endpoint with
10,000 tags in 200 blocks every second, and ten units of which three die, behind one connection beside pymodbus and at
a serial line, then over ten minutes of simulated time.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable

import uvloop

from gateway.core.types import NS_PER_MS
from gateway.protocol.modbus.polled import Line
from gateway.runtime.benches.environment import environment
from gateway.runtime.benches.modbus_clients import (
    CONNECTIONS,
    PACE_NS,
    REGISTERS,
    SETTLE_S,
    Phase,
    floor,
    ours,
    simulator,
    theirs,
)
from gateway.runtime.benches.modbus_dead_units import BYTE_NS, in_real_time, simulated
from gateway.runtime.benches.modbus_dead_units import SECONDS as UNITS_SECONDS
from gateway.runtime.benches.modbus_plants import BLOCKS, CROWD_SECONDS, ENDPOINTS, large_endpoint, thousand_endpoints

ROUNDS = 5

Progress = Callable[[str], None]


def run(*, seconds: float, progress: Progress) -> dict[str, object]:
    """The whole benchmark, as its JSON object."""
    where = environment()
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # it would tell of every dead unit
    phase_s = max(0.3, (seconds - UNITS_SECONDS - 2 * CROWD_SECONDS - 12) / (5 * ROUNDS) - SETTLE_S)
    names = ("paced", "their paced", "flat out", "their flat out", "floor")
    found: dict[str, list[Phase]] = {name: [] for name in names}
    with simulator() as port:
        for turn in range(ROUNDS):
            found["paced"].append(uvloop.run(ours(port, PACE_NS, phase_s)))
            found["their paced"].append(uvloop.run(theirs(port, PACE_NS, phase_s)))
            found["flat out"].append(uvloop.run(ours(port, NS_PER_MS, phase_s)))
            found["their flat out"].append(uvloop.run(theirs(port, NS_PER_MS, phase_s)))
            found["floor"].append(uvloop.run(floor(port, phase_s)))
            said = (f"{name} {phases[-1].cpu_us_per_read:.1f} µs" for name, phases in found.items())
            progress(f"round {turn + 1} of {ROUNDS}, CPU a read: {', '.join(said)}")
        progress(f"{ENDPOINTS:,} endpoints, then one of {BLOCKS} blocks, for {CROWD_SECONDS} s each")
        crowd_late = uvloop.run(thousand_endpoints(port))
        large_late = uvloop.run(large_endpoint(port))
        progress(f"ten units, three of which die, for {UNITS_SECONDS} s; then ten minutes of it in simulated time")
        kept, their_kept, line_kept = uvloop.run(in_real_time(port))
    cpu = {name: statistics.median(phase.cpu_us_per_read for phase in phases) for name, phases in found.items()}
    rate = {name: statistics.median(phase.reads_per_s for phase in phases) for name, phases in found.items()}

    def figures(prefix: str) -> dict[str, float]:
        return {
            "paced_cpu_us_per_read": round(cpu[f"{prefix}paced"], 2),
            "paced_reads_per_s": round(rate[f"{prefix}paced"]),
            "flat_out_cpu_us_per_read": round(cpu[f"{prefix}flat out"], 2),
            "flat_out_reads_per_s": round(rate[f"{prefix}flat out"]),
            "flat_out_registers_per_s": round(rate[f"{prefix}flat out"] * REGISTERS),
            "live_units_answered_share": round(their_kept if prefix else kept, 3),
        }

    return {
        "bench": "modbus",
        "environment": where,
        "figures": {"connections": CONNECTIONS, "registers_per_read": REGISTERS, **figures("")}
        | {
            "late_share_of_1000_endpoints_at_100_ms": round(crowd_late, 5),
            "late_share_of_200_blocks": round(large_late, 5),
            "live_units_at_a_line_answered_share": round(line_kept, 3),
            "live_units_answered_share_of_10_simulated_minutes": round(simulated(), 4),
            "live_units_at_a_line_answered_share_of_10_simulated_minutes": round(simulated(Line(BYTE_NS)), 4),
        },
        "peers": {f"pymodbus_{name}": value for name, value in figures("their ").items()}
        | {"floor_cpu_us_per_read": round(cpu["floor"], 2)},
        "ratios": {
            "ratio_to_pymodbus_paced_cpu": round(cpu["their paced"] / cpu["paced"], 2),
            "ratio_to_pymodbus_flat_out_cpu": round(cpu["their flat out"] / cpu["flat out"], 2),
            "ratio_to_floor_flat_out_cpu": round(cpu["floor"] / cpu["flat out"], 2),
            "ratio_to_pymodbus_flat_out_reads": round(rate["flat out"] / rate["their flat out"], 2),
        },
    }

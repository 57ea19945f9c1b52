"""Both servers of a gateway under attack, and its work beside it: polls, loops, a SCADA client that was there first."""

from __future__ import annotations

import json
import random
import resource
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.core.limits import HTTP_CONNECTIONS_MAX, SCADA_CLIENTS_MAX
from gateway.core.types import Quality
from gateway.serving.http.server import ANSWER_S_MAX
from hil.devices.instruments import MeterUnit, TankUnit
from hil.devices.modbus import Endpoint, Unit
from tests.integration.test_daemon_scada import CONFIG
from tests.support.daemon import ROOT, Gateway, Outside, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

QUIET_S = 10.0
FLOOD_S = ANSWER_S_MAX + 5.0
"""Long enough that connections are cut off for being slow."""
PERIOD_S = 0.02
POLL_S = 0.05
RSS_BYTES_MORE_MAX = 150_000_000
MANY = 20
"""Addresses that a flood comes from, so that it takes every connection there is."""


LOSSES = (
    "fieldgate_modbus_connects_total",
    "fieldgate_control_link_connects_total",
    "fieldgate_inbox_dropped_samples_total",
    "fieldgate_control_samples_dropped_total",
)


@dataclass(frozen=True)
class Work:
    """What polls and the loop had done by now, of a scrape."""

    at_s: float
    samples: float
    cycles: float
    misses: float
    failsafes: float
    lost: Counter[str]
    """Connections made anew, samples dropped on the way. A poll that was not answered in time is missing in `polled`:
    this process is the device, and the machine's other work holds it up too."""

    def __sub__(self, before: Work) -> Work:
        return Work(*(getattr(self, name) - getattr(before, name) for name in Work.__dataclass_fields__))

    @property
    def kept(self) -> float:
        """The part of the loop's cycles that were due and came."""
        return self.cycles * PERIOD_S / self.at_s

    @property
    def polled(self) -> float:
        """The part of the due samples of one tag that came."""
        return self.samples * POLL_S / self.at_s

    @property
    def missed(self) -> float:
        return self.misses / self.cycles


def look(gateway: Gateway) -> Work:
    """Waits until the gateway has room for one more connection."""

    def scraped() -> Work | None:
        now_s = time.monotonic()
        metrics = gateway.metrics()
        if "fieldgate_control_cycles_total" not in metrics:
            return None  # It answered that too many are connected.

        def total(name: str) -> float:
            return sum(value for _, value in metrics.get(name, []))

        lost = Counter({name: round(total(name)) for name in LOSSES})
        return Work(
            at_s=now_s,
            samples=gateway.device_samples()["meter"],
            cycles=total("fieldgate_control_cycles_total"),
            misses=total("fieldgate_control_misses_total"),
            failsafes=total("fieldgate_control_failsafes_total"),
            lost=lost,
        )

    def tried() -> Work | None:
        try:
            return scraped()
        except (OSError, ValueError, KeyError):  # cut off, or 503 in plain text
            return None

    return until(tried, "the page answers again", 40.0)


class Asking(threading.Thread):
    """A SCADA client that was there before: asks for the heartbeat twenty times a second."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.over = threading.Event()
        self.asked = 0
        self.beats: list[int] = []

    def run(self) -> None:
        with self._socket as connection:
            while not self.over.wait(0.05):
                connection.sendall(bytes.fromhex("000700000006010300000001"))
                self.asked += 1
                answer = connection.recv(11, socket.MSG_WAITALL)
                assert answer[:9] == bytes.fromhex("000700000005010302"), answer
                self.beats.append(int.from_bytes(answer[9:]))


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_flood_of_both_servers_costs_no_poll_no_cycle_and_no_client(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with Outside() as outside:
        endpoint = Endpoint(Unit(1, TankUnit()), Unit(2, MeterUnit(1)))
        outside.run(endpoint.start())
        with Gateway(tmp_path, CONFIG.format(plc=endpoint.port, inserted="")) as gateway:
            gateway.start()
            until(lambda: gateway.quality("tank.outflow") == Quality.GOOD, "the tank is read")
            asking = Asking(gateway.scada_port)
            asking.start()
            before = look(gateway)
            time.sleep(QUIET_S)
            between = look(gateway)
            resident_before = resident_bytes(gateway.pid)
            begun = _flood(gateway, seed, FLOOD_S, MANY)
            resident_after = resident_bytes(gateway.pid)
            after = look(gateway)
            asking.over.set()
            asking.join()
            quiet, flooded = between - before, after - between
            print(f"quiet {quiet}\nflooded {flooded}\n{begun}")
            print(f"{asking.asked} requests of a client, {(resident_after - resident_before) / 1e6:.1f} MB more")

            assert flooded.failsafes == 0
            assert flooded.lost == quiet.lost == Counter()
            # What else runs on this machine takes its part of both times alike.
            assert flooded.kept > quiet.kept - 0.1, f"cycles {quiet.kept:.3f}, flooded {flooded.kept:.3f}"
            assert flooded.polled > quiet.polled - 0.1, f"polls {quiet.polled:.3f}, flooded {flooded.polled:.3f}"
            assert flooded.missed < quiet.missed + 0.2, f"misses {quiet.missed:.4f}, flooded {flooded.missed:.4f}"
            assert len(asking.beats) == asking.asked > 0, "the client that was there had all its answers"
            assert len(set(asking.beats)) > 10, "and the engine turned over"
            assert resident_after - resident_before < RSS_BYTES_MORE_MAX
            _expect_counted(gateway)
            until(
                lambda: gateway.metric("fieldgate_http_connections") < HTTP_CONNECTIONS_MAX / 2,
                "the connections are gone",
            )
            until(lambda: gateway.metric("fieldgate_scada_clients") == 0, "the clients are gone", 40.0)
            assert gateway.lines("component.failed") == []
            assert len(gateway.lines()) < 200, "a flood does not flood the log"
            assert gateway.terminate() == 0
        outside.run(endpoint.stop())


def test_a_flood_from_one_address_shuts_nobody_else_out(tmp_path: Path) -> None:
    """The page, Prometheus and SCADA come and go meanwhile, and each is answered every time."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with Outside() as outside:
        endpoint = Endpoint(Unit(1, TankUnit()), Unit(2, MeterUnit(1)))
        outside.run(endpoint.start())
        with Gateway(tmp_path, CONFIG.format(plc=endpoint.port, inserted="")) as gateway:
            gateway.start()
            until(lambda: gateway.quality("tank.outflow") == Quality.GOOD, "the tank is read")
            flooding = threading.Thread(target=_flood, args=(gateway, seed, FLOOD_S, 1))
            flooding.start()
            answered = 0
            while flooding.is_alive():
                for path in ("/", "/api/status", "/metrics"):
                    url = f"http://127.0.0.1:{gateway.http_port}{path}"
                    with urllib.request.urlopen(url, timeout=ANSWER_S_MAX) as answer:
                        assert answer.status == 200
                        answer.read()
                with socket.create_connection(("127.0.0.1", gateway.scada_port), timeout=10) as scada:
                    scada.sendall(bytes.fromhex("000700000006010300000001"))
                    assert scada.recv(11, socket.MSG_WAITALL)[:9] == bytes.fromhex("000700000005010302")
                answered += 1
            flooding.join()
            print(f"answered {answered} times")
            assert answered > 3
            assert gateway.metric("fieldgate_http_connections_cut_total", reason="too many of one client") > 0
            assert gateway.metric("fieldgate_http_connections_cut_total", reason="too many") == 0
            assert gateway.metric("fieldgate_scada_crowded_clients_total") > 0
            assert gateway.metric("fieldgate_scada_refused_clients_total") == 0
            told = gateway.lines("http.client.crowded")
            assert 1 <= len(told) <= 1 + FLOOD_S / 10, "again when it had let go of half, and 10 s went by"
            assert all("127.0.0.2 has all of its 16 connections" in each.message for each in told)
            assert gateway.lines("scada.client.crowded")
            assert len(gateway.lines()) < 200, "a flood does not flood the log"
            assert gateway.terminate() == 0
        outside.run(endpoint.stop())


def _flood(gateway: Gateway, seed: int, seconds: float, hosts: int) -> dict[str, int]:
    command = [sys.executable, "-m", "tests.support.flood"]
    command += [str(each) for each in (gateway.http_port, gateway.scada_port, seconds, seed, hosts)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2_000:]
    begun: dict[str, int] = json.loads(done.stdout)
    assert sum(begun.values()) > 1_000
    assert len(begun) == 12, "each kind of harm was done"
    return begun


def _expect_counted(gateway: Gateway) -> None:
    counted = gateway.metric
    assert counted("fieldgate_http_connections_cut_total", reason="too many") > 0
    assert counted("fieldgate_http_connections_cut_total", reason="too slow") > 0
    assert counted("fieldgate_http_requests_total", code="503") > 0
    assert counted("fieldgate_scada_refused_clients_total") > 0
    assert counted("fieldgate_scada_malformed_total") > 0
    assert counted("fieldgate_scada_connections_total") > SCADA_CLIENTS_MAX

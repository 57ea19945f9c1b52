"""The server over real sockets: what Prometheus, probes, scripts and browsers get."""

from __future__ import annotations

import concurrent.futures
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.events import Event, Severity
from gateway.core.limits import HTTP_CONNECTIONS_MAX as CONNECTIONS_MAX
from gateway.core.readings import HistogramReading, Reading
from gateway.core.types import NS_PER_S
from gateway.serving.http.metrics import MetricTableInvalid, merge_tables
from gateway.serving.http.server import HttpAddressUnavailable, HttpServer
from gateway.serving.http.status import Phase
from tests.support.http import START_NS, TABLE, FakeSource

WALL_OFFSET_NS = 1_700_000_000 * NS_PER_S


class Clock:
    """Engine time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.ns = START_NS + 100 * NS_PER_S

    def __call__(self) -> int:
        return self.ns


class Running:
    """A server, its source and a client of it."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.source = FakeSource(self.clock, wall_offset_ns=WALL_OFFSET_NS)
        self.source.component.draw(np.random.default_rng(5), 400)
        self.server = HttpServer(
            host="127.0.0.1",
            port=0,
            source=self.source,
            tables=[TABLE],
            build={"version": "0.1.0"},
            now_ns=self.clock,
            **options,
        )
        self.server.start()
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.client = httpx.Client(base_url=self.url, timeout=10)

    def json(self, path: str, **parameters: Any) -> Any:
        response = self.client.get(path, params=parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def metric(self, name: str, **labels: str) -> float:
        text = self.client.get("/metrics").text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return sample.value
        raise AssertionError(f"{name}{labels} is not in the scrape:\n{text}")

    def stop(self) -> None:
        self.client.close()
        assert self.server.stop(5.0)


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    """For tests that only read, twenty at a time."""
    running = Running(connections_per_client=CONNECTIONS_MAX)
    yield running
    running.stop()


@pytest.fixture
def running() -> Iterator[Running]:
    """For tests that change something."""
    running = Running()
    yield running
    running.stop()


def wait_until(condition: Callable[[], bool], *, within_s: float = 5.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, "not in time"
        time.sleep(0.02)


# --- metrics


def test_promtool_accepts_a_scrape(shared: Running) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: apt-get install -y prometheus"
    scrape = shared.client.get("/metrics").content
    checked = subprocess.run([promtool, "check", "metrics"], input=scrape, capture_output=True, timeout=30)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_scrape_holds_the_readings_the_process_and_the_build(shared: Running) -> None:
    assert shared.metric("fieldgate_inbox_accepted_samples_total", lane="plc-1") == 48_000 * 100 * 0.75
    assert shared.metric("fieldgate_build_info", gateway="boiler-house", version="0.1.0") == 1
    assert shared.metric("process_resident_memory_bytes") > 1e6
    assert shared.metric("process_open_fds") > 3
    assert shared.metric("process_cpu_seconds_total") > 0
    assert shared.metric("fieldgate_process_threads") >= 2


def test_a_histogram_is_told_with_buckets_count_and_sum(shared: Running) -> None:
    name = "fieldgate_engine_aggregate_latency_seconds"
    assert shared.metric(f"{name}_count") == 400
    assert shared.metric(f"{name}_bucket", le="+Inf") == 400
    assert shared.metric(f"{name}_bucket", le="0.05") > 300
    assert shared.metric(f"{name}_bucket", le="0.001") < 10
    assert 400 * 0.004 < shared.metric(f"{name}_sum") < 400 * 0.012


def test_open_metrics_are_spoken_to_who_asks_for_them(shared: Running) -> None:
    response = shared.client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert response.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("reading", "reason"),
    [
        (Reading("fieldgate_nobody_knows_total", 1), "unknown"),
        (HistogramReading("fieldgate_process_threads", np.zeros(400, np.int64), 0), "type"),
        (Reading("fieldgate_inbox_dropped_samples_total", 1, (("lane", "floor"),)), "duplicate"),
    ],
)
def test_a_reading_that_cannot_be_told_is_counted_and_the_rest_is_served(
    running: Running, reading: Reading | HistogramReading, reason: str
) -> None:
    running.source.component.extra.append(reading)
    assert running.metric("fieldgate_inbox_accepted_samples_total", lane="floor") > 0
    assert running.metric("fieldgate_http_refused_readings_total", reason=reason) >= 1
    assert running.server.collector.refused_names == {reading.name}


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (("fieldgate_x", "counter", "h"), "must end in _total"),
        (("fieldgate_x_total", "gauge", "h"), "must not end in _total"),
        (("fieldgate_x_ms", "histogram", "h"), "must end in _seconds"),
        (("fieldgate_x", "number", "h"), "type 'number'"),
    ],
)
def test_a_table_that_breaks_a_convention_is_refused(row: tuple[str, str, str], complaint: str) -> None:
    with pytest.raises(MetricTableInvalid, match=complaint):
        merge_tables([[row]])


def test_two_tables_may_agree_on_a_metric_but_not_disagree() -> None:
    row = ("fieldgate_x", "gauge", "h")
    assert merge_tables([[row], [row]]) == {"fieldgate_x": ("gauge", "h")}
    with pytest.raises(MetricTableInvalid, match="two tables"):
        merge_tables([[row], [("fieldgate_x", "gauge", "another help")]])


def test_twenty_scrapes_at_once_hold_up_nobody(shared: Running) -> None:
    def scrape(_: int) -> int:
        return httpx.get(f"{shared.url}/metrics", timeout=10).status_code

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        codes = list(pool.map(scrape, range(60)))
    assert codes == [200] * 60
    assert shared.client.get("/healthz").status_code == 200


# --- health


def test_a_gateway_whose_threads_turn_over_is_alive_and_ready(shared: Running) -> None:
    assert shared.json("/healthz") == {"ok": True, "reasons": []}
    assert shared.json("/readyz") == {"ok": True, "reasons": []}


def test_an_engine_that_stands_still_is_neither_alive_nor_ready(running: Running) -> None:
    running.source.engine_silent_ns = 3 * NS_PER_S
    for path in ("/healthz", "/readyz"):
        response = running.client.get(path)
        assert response.status_code == 503
        assert response.json() == {"ok": False, "reasons": ["engine: no cycle for 3.0 s (limit 2.0 s)"]}


def test_a_gateway_that_starts_is_alive_before_it_is_ready(running: Running) -> None:
    running.source.phase = Phase.STARTING
    running.source.first_cycle_done = False
    running.source.the_plant = None
    assert running.client.get("/healthz").status_code == 200
    assert running.client.get("/readyz").json()["reasons"] == ["engine: first cycle not done yet"]
    status = running.json("/api/status")
    assert (status["phase"], status["is_ready"], status["tags_total"]) == ("starting", False, 0)
    assert running.json("/api/tags")["tags"] == []
    assert running.json("/api/loops")["loops"] == []


def test_a_gateway_that_stops_is_not_ready(running: Running) -> None:
    running.source.phase = Phase.STOPPING
    assert running.client.get("/readyz").json()["reasons"] == ["gateway: stopping"]


# --- API


def test_the_status_tells_the_plant_as_it_is(shared: Running) -> None:
    status = shared.json("/api/status")
    assert (status["gateway_id"], status["uptime_s"], status["tags_total"]) == ("boiler-house", 100.0, 232)
    assert status["time_ms"] == (shared.clock.ns + WALL_OFFSET_NS) // 1_000_000
    assert (status["links"]["up"], status["links"]["total"]) == (4, 5)
    assert status["links"]["links"][0]["name"] == "hall-b"
    assert status["uplink"]["oldest_age_s"] == 96.0
    assert [loop["mode"] for loop in status["loops"]] == ["auto", "auto", "failsafe"]
    assert status["loops"][0]["unit"] == "%"


def test_latencies_are_quantiles_beside_their_budgets(shared: Running) -> None:
    first, *_, last = shared.json("/api/status")["latencies"]
    assert (first["budget_ms"], last["budget_ms"]) == (50.0, None)
    assert first["total"]["count"] == 400
    assert 4 < first["total"]["p50_ms"] < 9 < first["total"]["p99_ms"] <= first["total"]["p999_ms"] < 50


def test_devices_that_need_attention_come_first(shared: Running) -> None:
    devices = shared.json("/api/status")["devices"]
    assert [device["name"] for device in devices["devices"][:4]] == ["press-2", "pump-07", "boiler", "pump-03"]
    assert devices["devices"][0]["quality"] == {"code": 32, "level": "bad", "reason": "not initialised"}
    assert (devices["devices"][3]["alarms"], devices["devices"][3]["score_tag"]) == (["score"], "pump-03.vibration")
    assert (devices["good"], devices["total"]) == (26, 29)
    assert [d["name"] for d in shared.json("/api/devices", search="PRESS", limit=1)["devices"]] == ["press-2"]


def test_rates_come_from_the_clock_between_two_notes(running: Running) -> None:
    assert running.json("/api/status")["rates"]["samples_per_s"] is None

    def has_rate() -> bool:
        running.clock.ns += NS_PER_S // 10
        return running.json("/api/status")["rates"]["samples_per_s"] is not None

    wait_until(has_rate)
    assert running.json("/api/status")["rates"]["samples_per_s"] == pytest.approx(48_000, rel=0.001)


def test_the_trend_of_a_loop_is_kept_before_anybody_asks(running: Running) -> None:
    def points() -> int:
        running.clock.ns += NS_PER_S // 10
        return len(running.json("/api/loops")["loops"][0]["trend"])

    wait_until(lambda: points() >= 2)
    entry = running.json("/api/loops")["loops"][0]
    assert entry["loop"]["name"] == "tank-level"
    times_ms = [point[0] for point in entry["trend"]]
    assert times_ms == sorted(times_ms)
    assert len(entry["trend"][0]) == 4


def test_tags_are_found_by_all_words_in_any_case_and_cut_into_pages(shared: Running) -> None:
    page = shared.json("/api/tags", search="Pump TEMP", offset=20, limit=10)
    assert (page["total"], page["offset"], len(page["tags"])) == (24, 20, 4)
    assert [tag["name"] for tag in page["tags"]] == [f"pump-{n}.temperature" for n in (21, 22, 23, 24)]
    assert shared.json("/api/tags", search="no such tag")["total"] == 0
    assert shared.json("/api/tags", offset=230)["tags"][0]["name"] == "press-2.power"
    assert shared.json("/api/tags", offset=9_000)["tags"] == []


def test_pages_laid_end_to_end_are_the_whole_list(shared: Running) -> None:
    rows = [tag["row"] for offset in range(0, 232, 50) for tag in shared.json("/api/tags", offset=offset)["tags"]]
    assert rows == list(range(232))


def test_only_problems_leaves_what_is_not_good_or_in_alarm(shared: Running) -> None:
    page = shared.json("/api/tags", only="problems", limit=100)
    names = [tag["name"] for tag in page["tags"] if not tag["name"].startswith("pump-07")]
    assert names == ["boiler.level", "pump-03.vibration", "press-2.pressure"]
    assert page["total"] == 3 + 8


def test_a_tag_is_told_with_value_quality_age_and_windows(shared: Running) -> None:
    tag = shared.json("/api/tags", search="boiler.temperature")["tags"][0]
    assert (tag["unit"], tag["quality"]["reason"], tag["score_alarm"]) == ("°C", "good", 0.9)
    assert [window["window_s"] for window in tag["windows"]] == [10.0, 300.0]
    assert (tag["windows"][0]["count"], tag["windows"][0]["rate_per_s"]) == (100, None)
    stale = shared.json("/api/tags", search="pump-07.flow")["tags"][0]
    assert (stale["quality"]["reason"], stale["age_s"]) == ("stale", 100.0)


def test_what_never_had_a_value_shows_none(shared: Running) -> None:
    tag = shared.json("/api/tags", search="press-2.pressure")["tags"][0]
    assert (tag["value"], tag["text"], tag["age_s"]) == (None, None, None)
    assert tag["windows"][0]["mean"] is None


def test_a_counter_past_what_a_browser_can_count_keeps_its_digits(shared: Running) -> None:
    tag = shared.json("/api/tags", search="boiler.energy")["tags"][0]
    assert tag["text"] == str(9_007_199_254_740_993 + tag["row"])
    assert tag["value"] == 9_007_199_254_740_993 + tag["row"]


def test_events_come_newest_first_in_wall_time_and_in_pages(shared: Running) -> None:
    page = shared.json("/api/events", limit=2)
    assert (page["total"], [event["kind"] for event in page["events"]]) == (6, ["alarm.on", "loop.failsafe"])
    assert page["events"][0]["time_ms"] == (START_NS + 30 * NS_PER_S + WALL_OFFSET_NS) // 1_000_000
    assert shared.json("/api/events", offset=5)["events"][0]["kind"] == "gateway.ready"


def test_an_event_of_hostile_text_stays_text(running: Running) -> None:
    running.source.the_events.append(Event(START_NS, Severity.INFO, "x", "<img onerror=1>", '"\u2028</script>'))
    assert running.json("/api/events")["events"][0]["message"] == '"\u2028</script>'


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=x", "offset=-1", "offset=1e3", "limit=²", "search=" + "a" * 201, "only=bad"],
)
def test_a_parameter_that_cannot_be_meant_is_answered_with_what_can(shared: Running, query: str) -> None:
    response = shared.client.get(f"/api/tags?{query}")
    assert response.status_code == 400
    assert response.text.startswith(query.partition("=")[0])


# --- page and rules


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/trend.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ],
)
def test_the_page_is_served_whole_and_asks_nobody_else(shared: Running, path: str, kind: str) -> None:
    response = shared.client.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == kind
    outside = re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"']*", response.text)
    assert [url for url in outside if url != "http://www.w3.org/2000/svg"] == []
    assert not re.search(r"\sstyle=|\son\w+=|<script>|innerHTML", response.text)


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/api/tags", "/api/tags?limit=0", "/nowhere"])
def test_every_answer_carries_the_security_headers(shared: Running, path: str) -> None:
    headers = shared.client.get(path).headers
    assert "default-src 'none'; script-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert "server" not in headers


def test_nothing_can_be_written(shared: Running) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert shared.client.request(method, "/api/status", content=b"{}").status_code == 405


def test_a_large_body_is_refused_unread(shared: Running) -> None:
    response = shared.client.post("/api/status", content=b"x" * 65_537)
    assert (response.status_code, response.headers["connection"]) == (413, "close")


def test_a_body_of_unsaid_length_is_refused(shared: Running) -> None:
    response = shared.client.post("/api/status", content=iter([b"x" * 10]))
    assert (response.status_code, response.headers["connection"]) == (411, "close")


def test_paths_that_scanners_invent_make_one_series(running: Running) -> None:
    for number in range(30):
        running.client.get(f"/wp-admin/{number}")
    assert running.metric("fieldgate_http_requests_total", path="other", code="404") == 30


# --- life and limits


def test_a_port_that_is_taken_is_an_error_that_says_where_and_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = HttpServer(
            host="127.0.0.1", port=port, source=FakeSource(Clock()), tables=[TABLE], build={}, now_ns=Clock()
        )
        with pytest.raises(HttpAddressUnavailable, match=rf"127\.0\.0\.1:{port}: Address already in use.*\[http\]"):
            server.start()
        assert server.stop(1.0)


def test_an_address_of_no_interface_is_an_error_that_says_so() -> None:
    server = HttpServer(host="192.0.2.1", port=0, source=FakeSource(Clock()), tables=[TABLE], build={}, now_ns=Clock())
    with pytest.raises(HttpAddressUnavailable, match=r"192\.0\.2\.1.*no interface of this machine"):
        server.start()


def test_a_stopped_server_frees_its_port_and_its_thread() -> None:
    running = Running()
    assert running.json("/healthz")["ok"]
    port = running.server.port
    running.stop()
    assert not running.server.is_alive
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_stop_does_not_wait_for_clients_that_linger() -> None:
    running = Running()
    with socket.create_connection(("127.0.0.1", running.server.port)) as lingering:
        lingering.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        wait_until(lambda: connections(running) >= 1)
        began_s = time.monotonic()
        running.stop()
        assert time.monotonic() - began_s < 4


def counted(running: Running, name: str) -> float:
    return sum(r.value for r in running.server.readings() if isinstance(r, Reading) and r.name == name)


def connections(running: Running) -> float:
    return counted(running, "fieldgate_http_connections")


def test_a_client_that_sends_byte_by_byte_is_cut_off() -> None:
    running = Running(answer_s_max=0.4)
    with socket.create_connection(("127.0.0.1", running.server.port), timeout=5) as slow:
        slow.settimeout(0.05)
        deadline_s = time.monotonic() + 5
        cut = False
        while not cut and time.monotonic() < deadline_s:
            try:
                slow.sendall(b"G")
                cut = slow.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                cut = True
    assert cut
    assert running.metric("fieldgate_http_connections_cut_total", reason="too slow") == 1
    running.stop()


def test_a_client_that_asks_again_and_again_is_not_cut_off() -> None:
    running = Running(answer_s_max=0.2)
    deadline_s = time.monotonic() + 1.0
    while time.monotonic() < deadline_s:
        assert running.client.get("/healthz").status_code == 200
        time.sleep(0.02)
    assert running.metric("fieldgate_http_connections_cut_total", reason="too slow") == 0
    running.stop()


def test_connections_past_the_limit_are_told_so_and_far_past_it_cut_off() -> None:
    running = Running(connections_per_client=3 * CONNECTIONS_MAX)
    held = [socket.create_connection(("127.0.0.1", running.server.port)) for _ in range(CONNECTIONS_MAX)]
    try:
        wait_until(lambda: connections(running) == CONNECTIONS_MAX)
        response = httpx.get(f"{running.url}/healthz", timeout=5)
        assert response.status_code == 503
        assert "connections are open" in response.text
        held += [socket.create_connection(("127.0.0.1", running.server.port)) for _ in range(CONNECTIONS_MAX + 2)]
        wait_until(lambda: counted(running, "fieldgate_http_connections_cut_total") > 0)
    finally:
        for one in held:
            one.close()
    wait_until(lambda: connections(running) == 0)
    assert running.client.get("/healthz").status_code == 200
    running.stop()


def test_the_page_lies_in_the_package() -> None:
    import gateway.serving.http.app as app

    folder = Path(app.__file__).parent / "page"
    assert {name for name, _ in app.PAGE_FILES.values()} == {path.name for path in folder.iterdir()}


def test_the_plant_is_told_by_quality_and_not_by_tag(running: Running) -> None:
    qualities = {
        level: running.metric("fieldgate_plant_devices", quality=level) for level in ("good", "uncertain", "bad")
    }
    assert qualities == {"good": 26, "uncertain": 2, "bad": 1}
    assert running.metric("fieldgate_plant_tags", good="yes") + running.metric("fieldgate_plant_tags", good="no") == 232
    assert running.metric("fieldgate_plant_alarms") == 2
    running.source.the_plant = None
    assert "fieldgate_plant_devices{" not in running.client.get("/metrics").text


def test_a_clock_that_cannot_be_believed_is_told(running: Running) -> None:
    assert running.metric("fieldgate_clock_synchronised") == 1
    running.source.wall_is_synchronised = False
    assert running.metric("fieldgate_clock_synchronised") == 0

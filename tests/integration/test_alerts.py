"""Alerts and dashboard, judged by promtool and against the metrics that exist.

Each alert has a fault: the series of a gateway at work, with the few that the fault changes. promtool plays them, each
as a gateway of its own, and at the fault's end exactly the named alerts fire; forty minutes later nothing does.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.runtime.metric_tables import TABLES
from gateway.serving.http.metrics import METRICS, merge_tables
from gateway.serving.http.server import METRICS as SERVER_METRICS
from tests.integration.test_alert_trends import FAULTS as TRENDS
from tests.support.promtool import ALERTS, fires, play, promtool

PACKAGING = Path(__file__).parents[2] / "packaging"
DASHBOARD = PACKAGING / "grafana" / "fieldgate.json"
OF_PROMETHEUS = {"up", "process_start_time_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes"}
METRIC_NAME = re.compile(r"(?<!:)\b(?:fieldgate|process)_[a-z_0-9]+\b|\bup\b")

HEALTHY = {
    "up": "1+0x240",
    "process_start_time_seconds": "1000+0x240",
    "fieldgate_clock_synchronised": "1+0x240",
    "fieldgate_engine_cycles_total": "0+1500x240",
    "fieldgate_config_last_reload_successful": "1+0x240",
    "fieldgate_scada_watchdog_silent": "0+0x240",
    'fieldgate_sample_to_aggregate_seconds_bucket{le="0.05"}': "0+1000x240",
    "fieldgate_sample_to_aggregate_seconds_count": "0+1000x240",
    'fieldgate_sample_to_score_seconds_bucket{le="0.1"}': "0+1000x240",
    "fieldgate_sample_to_score_seconds_count": "0+1000x240",
    'fieldgate_control_input_to_output_seconds_bucket{le="0.01",loop="tank"}': "0+750x240",
    'fieldgate_control_input_to_output_seconds_count{loop="tank"}': "0+750x240",
    'fieldgate_control_budget_seconds{loop="tank"}': "0.01+0x240",
    'fieldgate_control_cycles_total{loop="tank"}': "0+750x240",
    "fieldgate_control_samples_dropped_total": "0+0x240",
    'fieldgate_control_misses_total{loop="tank"}': "0+0x240",
    'fieldgate_control_mode{loop="tank"}': "1+0x240",
    'fieldgate_control_link_up{link="fast"}': "1+0x240",
    'fieldgate_uplink_connected{uplink="cloud"}': "1+0x240",
    'fieldgate_uplink_lag_seconds{uplink="cloud"}': "1+0x240",
    'fieldgate_spool_available{uplink="cloud"}': "1+0x240",
    'fieldgate_spool_records{uplink="cloud"}': "3+0x240",
    'fieldgate_spool_bytes{uplink="cloud"}': "9000+0x240",
    'fieldgate_spool_limit_bytes{uplink="cloud"}': "1000000+0x240",
    'fieldgate_pressure_step{uplink="cloud"}': "0+0x240",
    'fieldgate_disk_free_bytes{uplink="cloud"}': "40e9+0x240",
    'fieldgate_disk_floor_bytes{uplink="cloud"}': "100e6+0x240",
    "fieldgate_dead_letters_total": "0+0x240",
    "fieldgate_dead_letters_dropped_total": "0+0x240",
    'fieldgate_modbus_connected{link="plc"}': "1+0x240",
    'fieldgate_modbus_bus_silent{link="plc"}': "0+0x240",
    'fieldgate_mqtt_connected{link="floor"}': "1+0x240",
    'fieldgate_mqtt_messages_total{link="floor"}': "0+1500x240",
    'fieldgate_mqtt_unusable_messages_total{link="floor"}': "0+0x240",
    'fieldgate_mqtt_shed_messages_total{link="floor",priority="low"}': "0+0x240",
    'fieldgate_modbus_device_up{device="pump",link="plc"}': "1+0x240",
    'fieldgate_modbus_requests_total{link="plc"}': "0+150x240",
    'fieldgate_modbus_timeouts_total{link="plc"}': "0+0x240",
    'fieldgate_modbus_reply_errors_total{link="plc"}': "0+0x240",
    'fieldgate_inbox_dropped_samples_total{lane="floor"}': "0+0x240",
    'fieldgate_plant_devices{quality="good"}': "40+0x240",
    'fieldgate_plant_devices{quality="uncertain"}': "0+0x240",
    'fieldgate_plant_devices{quality="bad"}': "0+0x240",
    'fieldgate_supervisor_restarts_total{component="plc"}': "0+0x240",
    'fieldgate_http_refused_readings_total{reason="unknown"}': "0+0x240",
}
"""A gateway at work, a point every 15 s for an hour."""

SICK, WELL = 80, 240 - 80
"""A fault lasts for so many points, 20 minutes, from the start."""
BRIEFLY = "19m45s"
DROPPED_SAMPLES = 'fieldgate_spool_dropped_records_total{stream="samples",reason="full",uplink="cloud"}'


def counts(sick: str, well: int) -> str:
    """A counter that goes as `sick` says for the time of the fault, and by `well` a point after it."""
    start, step = sick.split("+")
    return f"{start}+{step}x{SICK} {int(start) + int(step) * SICK + well}+{well}x{WELL - 2}"


def gauge(sick: float, well: float) -> str:
    return f"{sick:g}+0x{SICK} {well:g}+0x{WELL - 2}"


FAULTS: dict[str, tuple[dict[str, str], set[str]]] = {
    "nothing is wrong": ({}, set()),
    "2 % of the samples take longer than 50 ms": (
        {'fieldgate_sample_to_aggregate_seconds_bucket{le="0.05"}': counts("0+980", 1000)},
        {"FieldgateAggregateOverBudget"},
    ),
    "half a percent does: the p99 is within its budget": (
        {'fieldgate_sample_to_aggregate_seconds_bucket{le="0.05"}': counts("0+995", 1000)},
        set(),
    ),
    "2 % of the scores take longer than 100 ms": (
        {'fieldgate_sample_to_score_seconds_bucket{le="0.1"}': counts("0+980", 1000)},
        {"FieldgateScoreOverBudget"},
    ),
    "a loop writes too late": (
        {'fieldgate_control_input_to_output_seconds_bucket{le="0.01",loop="tank"}': counts("0+700", 750)},
        {"FieldgateControlOverBudget"},
    ),
    "a loop by a serial line takes longer, within its own budget": (
        {
            'fieldgate_control_input_to_output_seconds_bucket{le="0.01",loop="tank"}': counts("0+0", 750),
            'fieldgate_control_budget_seconds{loop="tank"}': "0.1+0x240",
        },
        set(),
    ),
    "a loop misses deadlines": (
        {'fieldgate_control_misses_total{loop="tank"}': counts("0+10", 0)},
        {"FieldgateDeadlineMisses"},
    ),
    "a loop is in fail-safe": ({'fieldgate_control_mode{loop="tank"}': gauge(2, 1)}, {"FieldgateLoopInFailsafe"}),
    "SCADA is silent": ({"fieldgate_scada_watchdog_silent": gauge(1, 0)}, {"FieldgateScadaSilent"}),
    "the engine hangs": ({"fieldgate_engine_cycles_total": counts("0+0", 1500)}, {"FieldgateEngineStalled"}),
    "the uplink is down": (
        {
            'fieldgate_uplink_connected{uplink="cloud"}': gauge(0, 1),
            'fieldgate_uplink_lag_seconds{uplink="cloud"}': f"0+15x{SICK} 1+0x{WELL - 2}",
            'fieldgate_spool_records{uplink="cloud"}': f"0+40x{SICK} 3+0x{WELL - 2}",
        },
        {"FieldgateUplinkDown", "FieldgateConsumerLag"},
    ),
    "upstream is slower than the plant": (
        {'fieldgate_spool_records{uplink="cloud"}': f"0+40x{SICK} 3+0x{WELL - 2}"},
        {"FieldgateBacklogGrows"},
    ),
    "the buffer fills": (
        {'fieldgate_spool_bytes{uplink="cloud"}': gauge(900_000, 9_000)},
        {"FieldgateBufferNearlyFull"},
    ),
    "less is recorded": (
        {'fieldgate_pressure_step{uplink="cloud"}': gauge(2, 0)},
        {"FieldgateUnderPressure"},
    ),
    "the disk comes near its floor": (
        {'fieldgate_disk_free_bytes{uplink="cloud"}': gauge(250e6, 40e9)},
        {"FieldgateDiskNearFloor"},
    ),
    "little is free, and nobody asked for a floor": (
        {
            'fieldgate_disk_free_bytes{uplink="cloud"}': gauge(1e6, 40e9),
            'fieldgate_disk_floor_bytes{uplink="cloud"}': "0+0x240",
        },
        set(),
    ),
    "the disk is full": ({'fieldgate_spool_available{uplink="cloud"}': gauge(0, 1)}, {"FieldgateSpoolUnavailable"}),
    "records are dropped for the first time, at once": (
        {DROPPED_SAMPLES: "_x60 500+0x178"},
        {"FieldgateRecordsDropped"},
    ),
    "records are dropped again": (
        {DROPPED_SAMPLES: f"5+0x60 5+3x20 68+0x{WELL - 3}"},
        {"FieldgateRecordsDropped"},
    ),
    "upstream refuses a record": (
        {
            'fieldgate_spool_rejected_records_total{stream="events",uplink="cloud"}': "_x60 1+0x178",
            'fieldgate_spool_dropped_records_total{stream="events",reason="rejected",uplink="cloud"}': "_x60 1+0x178",
        },
        {"FieldgateRecordsRejected"},
    ),
    "a link is down, and its devices with it": (
        {
            'fieldgate_modbus_connected{link="plc"}': gauge(0, 1),
            'fieldgate_modbus_device_up{device="pump",link="plc"}': gauge(0, 1),
        },
        {"FieldgateLinkDown"},
    ),
    "a bus is dead, and its devices with it": (
        {
            'fieldgate_modbus_bus_silent{link="plc"}': gauge(1, 0),
            'fieldgate_modbus_device_up{device="pump",link="plc"}': gauge(0, 1),
        },
        {"FieldgateLinkDown"},
    ),
    "a broker is away": ({'fieldgate_mqtt_connected{link="floor"}': gauge(0, 1)}, {"FieldgateLinkDown"}),
    "a control link is down": ({'fieldgate_control_link_up{link="fast"}': gauge(0, 1)}, {"FieldgateLinkDown"}),
    "a unit is silent": (
        {'fieldgate_modbus_device_up{device="pump",link="plc"}': gauge(0, 1)},
        {"FieldgateDeviceSilent"},
    ),
    "sensors have stopped": (
        {
            'fieldgate_plant_devices{quality="good"}': gauge(38, 40),
            'fieldgate_plant_devices{quality="uncertain"}': gauge(2, 0),
        },
        {"FieldgateStaleDevices"},
    ),
    "2 % of the requests fail": (
        {'fieldgate_modbus_timeouts_total{link="plc"}': counts("0+3", 0)},
        {"FieldgateModbusErrors"},
    ),
    "a device refuses 2 % of the requests": (
        {'fieldgate_modbus_exceptions_total{code="2",link="plc"}': counts("0+3", 0)},
        {"FieldgateModbusErrors"},
    ),
    "2 % of the messages cannot be used, and are kept": (
        {
            'fieldgate_mqtt_unusable_messages_total{link="floor"}': counts("0+30", 0),
            "fieldgate_dead_letters_total": counts("0+30", 0),
        },
        {"FieldgateMqttErrors", "FieldgateDeadLetters"},
    ),
    "one payload cannot be used, and there is no room for it": (
        {"fieldgate_dead_letters_dropped_total": "0+0x60 1+0x178"},
        {"FieldgateDeadLetters"},
    ),
    "samples are dropped": (
        {'fieldgate_inbox_dropped_samples_total{lane="floor"}': counts("0+7", 0)},
        {"FieldgateSamplesDropped"},
    ),
    "samples of loops are dropped": (
        {"fieldgate_control_samples_dropped_total": counts("0+7", 0)},
        {"FieldgateSamplesDropped"},
    ),
    "messages are shed": (
        {'fieldgate_mqtt_shed_messages_total{link="floor",priority="low"}': counts("0+7", 0)},
        {"FieldgateSamplesDropped"},
    ),
    "the gateway is gone": (
        {name: f"_x{SICK} {values}" for name, values in HEALTHY.items() if name != "up"} | {"up": gauge(0, 1)},
        {"FieldgateDown"},
    ),
    "it starts again and again": (
        {"process_start_time_seconds": f"1000+20x{SICK} 2620+0x{WELL - 2}"},
        {"FieldgateRestarts"},
    ),
    "a component fails again and again": (
        {'fieldgate_supervisor_restarts_total{component="plc"}': counts("0+1", 0)},
        {"FieldgateComponentRestarts"},
    ),
    "a configuration is refused": (
        {"fieldgate_config_last_reload_successful": gauge(0, 1)},
        {"FieldgateConfigurationRefused"},
    ),
    "no time server": ({"fieldgate_clock_synchronised": gauge(0, 1)}, {"FieldgateClockUnsynchronised"}),
    "a metric is missing from its table": (
        {'fieldgate_http_refused_readings_total{reason="unknown"}': counts("0+1", 0)},
        {"FieldgateMetricsLeftOut"},
    ),
}


def test_each_fault_fires_its_alert_and_no_other_and_clears(tmp_path: Path) -> None:
    instances = {name: HEALTHY | changed for name, (changed, _) in FAULTS.items()}
    alerts = {name: alerts for name, (_, alerts) in FAULTS.items()}
    play(tmp_path, "15s", instances, [fires(BRIEFLY, alerts), fires("59m", {})], judged="1m")


def test_every_alert_has_a_fault() -> None:
    named = set(re.findall(r"alert: (\w+)", ALERTS.read_text()))
    assert named == set().union(*(alerts for _, alerts in (FAULTS | TRENDS).values()))
    assert promtool("check", "rules", str(ALERTS))[0] == 0


def test_every_alert_says_what_it_means_what_to_do_and_how_urgent_it_is() -> None:
    for rule in re.split("- (?=alert: |record: )", ALERTS.read_text())[1:]:
        if rule.startswith("record: "):
            continue
        assert re.search(r"severity: (critical|warning) ", rule), rule
        assert "summary: " in rule, rule
        assert "description: " in rule, rule


# --- the metrics that rules and panels ask for


def known() -> set[str]:
    names = set(OF_PROMETHEUS)
    for name, (kind, _) in merge_tables([METRICS, SERVER_METRICS, *TABLES]).items():
        names |= {f"{name}{end}" for end in ("_bucket", "_count", "_sum")} if kind == "histogram" else {name}
    return names | {"fieldgate_build_info"}


def asked(expressions: list[str]) -> set[str]:
    return {name for text in expressions for name in METRIC_NAME.findall(text)}


def expressions_of_rules() -> list[tuple[str, str]]:
    return re.findall(r"expr: (?:>\n((?:          .*\n)+)|(.*)\n)", ALERTS.read_text())


def test_a_metrics_name_tells_its_kind_and_what_it_means_is_said_without_its_neighbours() -> None:
    """One is looked up by itself. What promtool asks of names is asked of a scrape (`test_http`)."""
    for name, (kind, help_text) in merge_tables([METRICS, SERVER_METRICS, *TABLES]).items():
        assert name.endswith("_total") == (kind == "counter"), name
        assert name.endswith("_seconds") or kind != "histogram", name
        assert help_text.endswith("."), name
        assert not re.search(r"\b(?:[Ss]uch|[Tt]hese) |\b[Tt]hat (?:in|disk|thread)\b", help_text), name


def test_rules_ask_for_metrics_that_exist() -> None:
    text = ALERTS.read_text()
    expressions = ["".join(pair) for pair in expressions_of_rules()]
    assert len(expressions) == len(re.findall("- (?:alert|record):", text))
    assert asked(expressions) - known() == set()
    recorded = set(re.findall(r"- record: (\S+)", text))
    assert set(re.findall(r"\bfieldgate:[a-z_0-9:]+", " ".join(expressions))) == recorded


def test_a_metric_that_does_not_exist_would_be_noticed() -> None:
    assert asked(["rate(fieldgate_spool_bites[5m]) > up"]) - known() == {"fieldgate_spool_bites"}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def marks() -> dict[str, dict[str, Any]]:
    """The annotations by name."""
    return {mark["name"]: mark for mark in json.loads(DASHBOARD.read_text())["annotations"]["list"]}


def expressions_of_dashboard() -> list[str]:
    drawn = [target["expr"] for panel in panels() for target in panel["targets"]]
    return drawn + [mark["expr"] for mark in marks().values()]


def test_starts_versions_and_reloads_are_marked_for_the_instances_chosen() -> None:
    assert marks().keys() == {"Starts", "Versions", "Reloads", "Refused reloads"}
    for name, mark in marks().items():
        assert mark["enable"], name
        assert mark["titleFormat"].startswith("{{instance}} "), name
        assert 'instance=~"$instance"' in mark["expr"], name
        assert asked([mark["expr"]]), name
        # Grafana takes the value as milliseconds where it is to be the time.
        assert mark.get("useValueForTime", False) == ("seconds{" in mark["expr"]) == ("} * 1000" in mark["expr"]), name


def test_panels_and_annotations_ask_for_metrics_that_exist_in_words_that_prometheus_understands(tmp_path: Path) -> None:
    found = expressions_of_dashboard()
    assert asked(found) - known() == set()
    rules = [
        {"record": f"panel:{number}", "expr": expr.replace("$instance", ".*").replace("$__rate_interval", "1m")}
        for number, expr in enumerate(found)
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    code, said = promtool("check", "rules", str(file))
    assert code == 0, said


def test_panels_do_not_overlap_have_titles_and_units_and_choose_the_instance() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert all('instance=~"$instance"' in target["expr"] for target in panel["targets"]), panel["title"]


@pytest.mark.parametrize(
    "part", ["latency", "control", "uplink", "spool", "modbus", "mqtt", "scada", "http", "process"]
)
def test_every_part_of_the_gateway_is_on_the_dashboard(part: str) -> None:
    found = asked(expressions_of_dashboard())
    word = "sample_to" if part == "latency" else part
    assert any(f"_{word}_" in f"_{name}_" for name in found)

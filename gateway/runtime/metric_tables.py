"""Every metric of the gateway: the tables of all components, joined for the collector."""

from __future__ import annotations

from gateway.control import metrics as control_metrics
from gateway.core import alarmdesk, calculationdesk, engine, inbox, symbols, virtualdesk
from gateway.protocol.mqtt import newcomers
from gateway.runtime import (
    continuity,
    cycle,
    delivery,
    eventbook,
    historian,
    referencing,
    reloading,
    reloads,
    supervisor,
    systemd,
    wearing,
)
from gateway.serving.operator import server as operator
from gateway.serving.scada import metrics as scada_metrics
from gateway.sources.modbus import counts, fast_thread
from gateway.sources.mqtt import metrics as mqtt_metrics
from gateway.spool import intake, letters, parking, worker
from gateway.spool.journal import metrics as journal_metrics
from gateway.writing import audit, service
from gateway.writing import mqtt as orders

TABLES = (
    engine.METRICS,
    alarmdesk.METRICS,
    calculationdesk.METRICS,
    virtualdesk.METRICS,
    inbox.METRICS,
    symbols.METRICS,
    counts.METRICS,
    fast_thread.METRICS,
    mqtt_metrics.METRICS,
    newcomers.METRICS,
    parking.METRICS,
    intake.METRICS,
    letters.METRICS,
    control_metrics.METRICS,
    worker.METRICS,
    continuity.METRICS,
    journal_metrics.METRICS,
    delivery.METRICS,
    scada_metrics.METRICS,
    operator.METRICS,
    service.METRICS,
    audit.METRICS,
    orders.METRICS,
    cycle.METRICS,
    eventbook.METRICS,
    historian.METRICS,
    referencing.METRICS,
    reloading.METRICS,
    reloads.METRICS,
    supervisor.METRICS,
    systemd.METRICS,
    wearing.METRICS,
)

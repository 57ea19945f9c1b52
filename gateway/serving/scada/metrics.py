"""What the Modbus server measures of itself."""

from __future__ import annotations

from typing import Final

from gateway.serving.scada import watchdog

METRICS: Final[tuple[tuple[str, str, str], ...]] = (
    ("fieldgate_scada_requests_total", "counter", "Modbus requests from SCADA, by function code."),
    ("fieldgate_scada_exceptions_total", "counter", "Requests answered with a Modbus exception, by exception code."),
    ("fieldgate_scada_clients", "gauge", "Connections to the Modbus server."),
    ("fieldgate_scada_connections_total", "counter", "Connections ever accepted by the Modbus server."),
    ("fieldgate_scada_refused_clients_total", "counter", "Connections refused because all were in use."),
    (
        "fieldgate_scada_crowded_clients_total",
        "counter",
        "Connections refused because their address had its part.",
    ),
    ("fieldgate_scada_forbidden_clients_total", "counter", "Connections refused because of where they came from."),
    ("fieldgate_scada_malformed_total", "counter", "Connections closed because what they sent was not Modbus TCP."),
    ("fieldgate_scada_slow_clients_total", "counter", "Connections cut off because they did not read their answers."),
    ("fieldgate_scada_writes_total", "counter", "Register writes from SCADA, by result (accepted, refused)."),
    ("fieldgate_scada_image_refreshes_total", "counter", "Times that an area of the register image was encoded anew."),
    ("fieldgate_scada_events_suppressed_total", "counter", "Events about clients that exceeded their budget."),
    ("fieldgate_scada_denied_requests_total", "counter", "Requests for what the rules keep from that client."),
    (
        "fieldgate_scada_tls_refused_total",
        "counter",
        "TLS connections refused, by reason (handshake: certificate or protocol, slow, stranger: not under allow).",
    ),
    ("fieldgate_scada_line_up", "gauge", "1 while the serial port of the Modbus server is open."),
    (
        "fieldgate_scada_line_discarded_bytes_total",
        "counter",
        "Bytes at the Modbus server's serial port that belonged to no frame (collisions, echoes, a wrong baud rate).",
    ),
    (
        "fieldgate_scada_line_late_answers_total",
        "counter",
        "Answers that were not sent at the serial port because the line had gone on.",
    ),
    *watchdog.METRICS,
)

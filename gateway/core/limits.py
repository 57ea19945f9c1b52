"""Every limit of the gateway, in one table: what it bounds, and what happens at it.

A limit that a plant may want to move is a setting (`gateway.settings.schema`); those here are fixed by protocols,
by memory layout or by good sense.
"""

from __future__ import annotations

from typing import Final

TAGS_MAX: Final = 200_000
"""Tags of one gateway. More is refused when the configuration is read."""

DEVICES_MAX: Final = 20_000
"""Devices of one gateway. More is refused when the configuration is read."""

MULTIVARIATE_TAGS_MAX: Final = 8
"""Tags of one device that are seen together. More is refused when the configuration is read."""

MULTIVARIATE_DEVICES_MAX: Final = 500
"""Devices with a multivariate score. More is refused when the configuration is read."""

SHAPE_TAGS_MAX: Final = 1_000
"""Tags with a shape score. More is refused when the configuration is read."""

WINDOWS_PER_TAG_MAX: Final = 8
"""Windows of one tag. More is refused when the configuration is read."""

LANE_SAMPLES_MIN: Final = 8_192
LANE_SAMPLES_MAX: Final = 262_144
LANE_SAMPLES_PER_TAG: Final = 16
"""Capacity of a source's lane: so many a tag, within the two. Overflow: newest dropped, counted, the source told."""

SYMBOLS_MAX: Final = 32_768
"""Different texts that one run keeps. Overflow: further ones are not kept, their samples are bad, counted."""

SYMBOL_BYTES_MAX: Final = 512
"""Bytes of one text in UTF-8. What is longer is cut at a character, counted."""

SYMBOLS_BYTES_MAX: Final = 2_097_152
"""Bytes of all texts together. Overflow: as with too many."""

CYCLE_SAMPLES_MAX: Final = 262_144
"""Samples of one engine cycle. The rest waits in its lanes for the next one."""

KEPT_SAMPLES_MAX: Final = 10_000_000
"""Samples kept for quantiles by all calculations together, 16 bytes each. More is refused when it is read."""

LENT_ALARMS_MAX: Final = 200_000
"""Places for alarms of tags that appear: rows of a pool times the alarms of each. More is refused when it is read."""

CALCULATIONS_PER_TAG_MAX: Final = 16
"""Calculations of one tag. More is refused when the configuration is read."""

RESULTS_WAITING_MAX: Final = 16_384
"""Results of calculations between two grid points. Overflow: the newest dropped and counted."""

VALUES_ASIDE_MAX: Final = 8_192
"""Values put aside for calculations before they are worked off. The fold stops at it, and goes on after that."""

VIRTUAL_TAGS_MAX: Final = 5_000
"""Virtual tags of one gateway: each checkpoint has them whole. More is refused when the configuration is read."""

VIRTUAL_INPUTS_MAX: Final = 100_000
"""Inputs of all virtual tags together. More is refused when the configuration is read."""

VIRTUAL_LEVELS_MAX: Final = 16
"""Virtual tags that follow from each other, one behind the other. More is refused when the configuration is read."""

FORMULA_INPUTS_MAX: Final = 1_000
FORMULA_STEPS_MAX: Final = 512
FORMULA_DEPTH_MAX: Final = 32
"""Of one formula: its inputs, its steps, and how deep its brackets go. More is refused when it is read."""

REFERENCE_TABLES_MAX: Final = 16
REFERENCE_ROWS_MAX: Final = 200_000
REFERENCE_COLUMNS_MAX: Final = 24
"""Reference tables, and rows and columns of one. More tables are refused; of a larger one nothing new is taken."""

REFERENCE_FINDINGS_MAX: Final = 100
"""Rows left out that are told one by one when tables are read. The rest is left out unsaid."""

REFERENCE_INFO_MAX: Final = 1_000
"""Tags in the metric fieldgate_tag_info. The rest is left out; fieldgate_reference_tags counts all."""

CURVE_POINTS_MAX: Final = 64
"""Points of one calibration curve. A row with more is left out."""

HISTORY_POINTS_MAX: Final = 2_000
"""Points of one answer from the history, at the resolution that it chooses itself."""

INFLUENCES_WAITING_MAX: Final = 1_000
"""What operators asked of the engine and the next cycle takes. One more is refused to whoever asks."""

CYCLE_NS: Final = 10_000_000
"""Period of the engine cycle."""

GRID_NS: Final = 100_000_000
"""Engine-time grid of time-driven work: staleness, roll-ups, flushing of records."""

ALARMS_PER_MINUTE_MAX: Final = 100
"""Alarms raised within a minute before it is a flood: those of lesser priority are then counted and not told."""

EVENTS_PER_GRID_MAX: Final = 1_000
"""Events of one grid point. The engine tells the rest at the next one; from outside, newest dropped and counted."""

RECORD_SAMPLES_MAX: Final = 8_192
"""Samples of one record. A flush cuts what is longer into several records."""

SPOOL_QUEUE_DRAFTS: Final = 1_024
"""Record drafts between engine and spool. Overflow: oldest of the lowest priority dropped, counted and ledgered."""

JOURNAL_QUEUE_SAMPLES: Final = 2_097_152
JOURNAL_QUEUE_CYCLES: Final = 4_096
"""Samples, and cycles, that wait for the journal's disk. Overflow: outputs leave uncovered, counted."""

JOURNAL_GROUP_SAMPLES: Final = 262_144
"""Samples after which a group is written at once."""

EVENTS_KEPT: Final = 1_000
"""Events kept in memory for the page. Overflow: oldest dropped."""

LOOPS_MAX: Final = 64
"""Control loops of the executive."""

BLOCKS_MAX: Final = 128
"""Function blocks of the executive, those that loops make for themselves (gains, interlocks) among them."""

FEEDS_MAX: Final = 64
"""Values that the engine hands to the executive in each of its cycles: tags, scores and windows."""

FAST_LINKS_MAX: Final = 16
"""Modbus TCP connections of the executive."""

ERRANDS_WAITING_MAX: Final = 64
"""Single requests (writes, identification) that wait for one Modbus link. One more is refused at once and counted."""

WRITES_UNDER_WAY_MAX: Final = 64
"""Writes to tags that are under way. One more is refused at once and counted."""

AUDIT_FILE_BYTES_MAX: Final = 16_000_000
AUDIT_FILES_MAX: Final = 8
"""The audit trail: size at which its file is put aside, and how many there are. Overflow: the oldest deleted, told."""

AUDIT_WAITING_MAX: Final = 1_000
"""Lines of the audit trail that wait for the disk. Overflow: the write is refused."""

SCADA_CLIENTS_MAX: Final = 32
"""Connections to the Modbus server. One more is refused at once and counted."""

HTTP_CONNECTIONS_MAX: Final = 64
"""HTTP connections that are answered. Past it 503; past twice as many they are closed at once, and counted."""

CONNECTIONS_PER_CLIENT: Final = 16
"""Of these, those of one client, at either server, unless the settings say otherwise. One more is closed, counted."""

SEGMENTS_MAX: Final = 64
"""Segments of one stream that wait to be drained. At the limit an outage goes on in the segment it has."""

SPOOL_KEPT_RECORDS_MAX: Final = 10_000
"""Acknowledged records in their grace, which a search for waiting ones passes by. Overflow: the oldest deleted."""

SEGMENTS_DONE_MAX: Final = 10_000
"""Segments whose lengths are kept after all their records arrived. Overflow: oldest forgotten, reconcile says so."""

DEAD_LETTERS_MAX: Final = 1_000
"""Rejected records kept for a look at them. Overflow: oldest deleted, counted."""

SPOOL_GROUP_DRAFTS: Final = 64
"""Drafts that one spool transaction stores. The rest waits in the queue for the next one."""

LOSSES_PER_REPORT: Final = 100
"""Ledger lines in one loss report. The rest waits for the next one, a second later."""

LOSS_TAGS_MAX: Final = 500
"""Tags named in one line of the loss ledger. More are drawn together by device, more devices into one count."""

LOSS_TAGS_PER_REPORT: Final = 2_000
"""Tags named in one loss report. Lines beyond wait for the next one, a second later."""

UPLINKS_MAX: Final = 4
"""Uplinks of one gateway. More is refused when the configuration is read."""

UPLINK_IN_FLIGHT: Final = 32
"""Live records sent and not yet acknowledged. The next one waits in the spool."""

UPLINK_DRAIN_IN_FLIGHT: Final = 16
"""Records of closed segments sent and not yet acknowledged. The next one waits in the spool."""

RECORD_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of a record that comes compressed, once it is not. A receiver calls more no record."""

RECEIVER_RANGES_MAX: Final = 1_000
"""Gaps a receiver remembers of one segment. Overflow: the oldest gap is given up, counted as missing for good."""

RECEIVER_SEGMENTS_MAX: Final = 1_000
"""Incomplete segments a receiver remembers of one stream. Overflow: the oldest is given up, its gaps with it."""

RECEIVER_STREAMS_MAX: Final = 3_000
"""Streams that one receiver follows, of all gateways. More are refused by name."""

READ_BYTES_MAX: Final = 65_536
"""Bytes that one read of a socket may take, so that no peer holds up the loop."""

SPARKPLUG_METRICS_MAX: Final = 400_000
"""Metrics of Sparkplug births that the jitted decoder knows. Data of births beyond is decoded slowly, and that told."""

INTAKE_BYTES_MAX: Final = 256 * 1024 * 1024
"""Samples of one durable session on disk that are not safe further on. At it nothing more is acknowledged."""

INTAKE_KEYS_MAX: Final = 8_192
"""Messages of QoS 1 of one session that a repetition is told from. Overflow: the oldest forgotten."""

INTAKE_FRAMES_MAX: Final = 256
"""Turns of one durable session that wait for the disk. At it reading pauses."""

PARKING_QUEUE_BYTES_MAX: Final = 64 * 1024 * 1024
"""States of tags that left and are not on the disk yet. Overflow: the newest dropped and counted."""

LETTERS_PER_TOPIC: Final = 16
"""Payloads of one topic that are kept because they could not be used. Overflow: the oldest deleted, counted."""

LETTERS_QUEUED_MAX: Final = 256
"""Such payloads on their way to the disk. Overflow: the newest dropped, counted."""

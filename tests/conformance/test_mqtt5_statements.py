"""Which normative statements of MQTT 5 (OASIS, 7 March 2019) bind the gateway's session, and what tests each.

The session subscribes and acknowledges; of its own it publishes only what Sparkplug asks of a host. Statements of
servers are left out: what happens when one breaks them is tested with the codec (malformed packets), and by the brokers
of `test_mqtt_brokers.py`. So are those of what the session never sends: AUTH, topic aliases, response topics,
correlation data, content types, user properties, reason strings, PUBREL, QoS 2 messages. Strings (1.5.4) are Python's
and encoded as UTF-8, and names that come are compared byte by byte, whatever they hold.
"""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
CODEC = "unit/test_mqtt_codec.py"
FUZZ = "fuzz/test_mqtt_codec.py"
SOURCE = "integration/test_mqtt_source.py"
FAULTS = "faults/test_mqtt_source_faults.py"
DURABLE = "faults/test_mqtt_durable.py"
BROKERS = "conformance/test_mqtt_brokers.py"
SPARKPLUG = "conformance/test_sparkplug_host.py"
HOST = "integration/test_sparkplug_source.py"
SETTINGS = "unit/test_settings_errors.py"

LOGIN = (CODEC, "test_a_connect_of_3_1_1_carries_its_login")
EXPIRY = (CODEC, "test_a_connect_of_5_carries_session_expiry_and_receive_maximum")
ENCODED = (CODEC, "test_subscriptions_are_encoded")
LENGTHS = (CODEC, "test_lengths_take_one_to_four_bytes")
TOO_LONG = (CODEC, "test_a_length_beyond_four_bytes_and_a_string_beyond_two_are_refused")
MALFORMED = (CODEC, "test_a_malformed_packet_is_named")
ORACLE = (FUZZ, "test_a_valid_stream_gives_what_the_oracle_gives")
PROPERTIES = (FUZZ, "test_a_message_with_wrong_properties_ends_the_connection")
ALIASES = (FUZZ, "test_a_topic_alias_stands_for_the_last_name_it_was_given")
EVERY_QOS = (BROKERS, "test_messages_of_every_qos_arrive_once_and_in_order")
KEEP_ALIVE = (FAULTS, "test_a_quiet_session_outlives_its_keep_alive")
SERVERS_KEEP_ALIVE = (FAULTS, "test_the_keep_alive_is_the_brokers_where_it_names_one")
TWICE = (FAULTS, "test_a_message_of_qos_2_that_comes_twice_counts_once")
IN_ORDER = (DURABLE, "test_an_acknowledgement_waits_for_the_disk_and_keeps_its_order")
WILL = (SPARKPLUG, "test_the_will_is_retained_and_of_qos_1")
FIRST = (HOST, "test_each_session_is_clean_subscribes_first_and_then_publishes_its_state")
NOT_OFFERED = (FAULTS, "test_nothing_is_asked_for_that_the_broker_does_not_offer")
KEPT = (SOURCE, "test_a_kept_session_brings_what_was_published_while_away")
GIVEN_BACK = (SOURCE, "test_what_an_earlier_configuration_subscribed_to_is_given_back")
PATTERNS = ("unit/test_mqtt_newcomers.py", "test_a_pattern_that_cannot_be_meant_is_explained")
TABLE = (SETTINGS, "test_each_problem_is_reported_where_it_is_and_nothing_else_is")

STATEMENTS: dict[str, tuple[str, str]] = {
    # Data representation, fixed header, packet identifiers
    "1.5.5-1": LENGTHS,
    "2.1.3-1": MALFORMED,
    "2.2.1-2": ORACLE,
    "2.2.1-3": ENCODED,
    "2.2.1-5": ORACLE,
    "2.2.1-6": MALFORMED,
    "2.2.2-1": EXPIRY,
    # CONNECT
    "3.1.0-1": FIRST,
    "3.1.2-1": EXPIRY,
    "3.1.2-2": EXPIRY,
    "3.1.2-4": (DURABLE, "test_a_broker_that_forgot_the_session_starts_afresh"),
    "3.1.2-9": WILL,
    "3.1.2-11": EXPIRY,
    "3.1.2-12": WILL,
    "3.1.2-13": EXPIRY,
    "3.1.2-16": EXPIRY,
    "3.1.2-17": LOGIN,
    "3.1.2-18": EXPIRY,
    "3.1.2-19": LOGIN,
    "3.1.2-20": KEEP_ALIVE,
    "3.1.2-21": SERVERS_KEEP_ALIVE,
    "3.1.2-23": (DURABLE, "test_what_the_broker_repeats_after_a_crash_counts_once"),
    "3.1.3-1": LOGIN,
    "3.1.3-3": LOGIN,
    "3.1.3-4": LOGIN,
    "3.1.3-11": WILL,
    "3.1.3-12": LOGIN,
    # CONNACK
    "3.2.2-4": (FAULTS, "test_a_session_that_was_to_begin_anew_and_did_not_is_ended"),
    "3.2.2-5": (DURABLE, "test_a_broker_that_forgot_the_session_starts_afresh"),
    "3.2.2-15": NOT_OFFERED,
    "3.2.2-21": SERVERS_KEEP_ALIVE,
    # PUBLISH
    "3.3.1-1": TWICE,
    "3.3.1-4": ORACLE,
    "3.3.2-1": (HOST, "test_an_edge_node_is_asked_for_its_births_and_followed_until_its_death"),
    "3.3.2-7": ALIASES,
    "3.3.2-10": ALIASES,
    "3.3.4-1": EVERY_QOS,
    # Acknowledgements
    "3.4.2-1": (FAULTS, "test_a_message_that_is_too_long_is_skipped_and_acknowledged"),
    "3.5.2-1": TWICE,
    "3.7.2-1": TWICE,
    "3.6.1-1": MALFORMED,
    # SUBSCRIBE and UNSUBSCRIBE
    "3.8.1-1": ENCODED,
    "3.8.3-1": ENCODED,
    "3.8.3-2": ENCODED,
    "3.8.3-4": (BROKERS, "test_gateways_of_one_group_share_the_messages"),
    "3.10.1-1": GIVEN_BACK,
    "3.10.3-1": GIVEN_BACK,
    "3.10.3-2": GIVEN_BACK,
    # DISCONNECT and AUTH
    "3.14.1-1": MALFORMED,
    "3.14.4-1": (FAULTS, "test_a_broker_that_wants_more_than_a_password_is_told_goodbye"),
    "3.14.4-2": (FAULTS, "test_a_broker_that_wants_more_than_a_password_is_told_goodbye"),
    "3.15.1-1": MALFORMED,
    "4.12.0-7": (FAULTS, "test_a_broker_that_wants_more_than_a_password_is_told_goodbye"),
    # Operation
    "4.1.0-1": KEPT,
    "4.2-1": EVERY_QOS,
    "4.3.2-4": IN_ORDER,
    "4.3.2-5": (DURABLE, "test_what_the_broker_repeats_after_a_crash_counts_once"),
    "4.3.3-8": TWICE,
    "4.3.3-10": TWICE,
    "4.3.3-11": TWICE,
    "4.3.3-12": TWICE,
    "4.4.0-1": (DURABLE, "test_what_the_broker_repeats_after_a_crash_counts_once"),
    "4.5.0-2": (FAULTS, "test_a_message_that_is_too_long_is_skipped_and_acknowledged"),
    "4.6.0-2": IN_ORDER,
    "4.6.0-3": IN_ORDER,
    "4.7.0-1": TABLE,
    "4.7.1-1": PATTERNS,
    "4.7.1-2": PATTERNS,
    "4.7.3-1": TABLE,
    "4.7.3-3": TOO_LONG,
    "4.8.2-1": (BROKERS, "test_gateways_of_one_group_share_the_messages"),
    "4.9.0-3": ("faults/test_mqtt_overload.py",
                "test_what_the_engine_has_no_room_for_is_not_acknowledged_whatever_the_broker_sends"),
    "4.13.1-1": PROPERTIES,
    "4.13.2-1": (CODEC, "test_every_reason_code_says_what_to_do"),
}  # fmt: skip
"""By number, the file and the test."""


def test_each_statement_that_binds_the_session_has_its_test() -> None:
    known = {}
    for file, name in STATEMENTS.values():
        if file not in known:
            tree = ast.parse((TESTS / file).read_text("utf-8"))
            known[file] = {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
        assert name in known[file], f"{file} has no {name}"

"""A small part of `make chaos`: whenever the gateway is killed, each durable reading is delivered once."""

from __future__ import annotations

import pytest

from tests.support.mqtt_chaos import kills_of

SEED = 20_261_125
KILLS = 5


@pytest.mark.slow
@pytest.mark.parametrize("broker", ["mosquitto", "nats"])
def test_no_durable_reading_is_missing_or_doubled_after_kills_under_load(broker: str) -> None:
    outcome = kills_of(broker, KILLS, SEED)
    assert outcome.is_whole, f"seed {SEED}: {outcome}"
    assert min(outcome.published.values()) > 500, f"seed {SEED}: {outcome}"

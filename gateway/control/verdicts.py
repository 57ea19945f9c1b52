"""Qualities and reasons as jitted code passes them on: whole numbers (see `native.jit`)."""

from __future__ import annotations

from gateway.control.reasons import Reason
from gateway.core.types import Quality
from gateway.native.jit import whole

GOOD = whole(Quality.GOOD)
COMM_FAILURE = whole(Quality.BAD_COMM_FAILURE)
DEVICE_FAILURE = whole(Quality.BAD_DEVICE_FAILURE)
SENSOR_FAILURE = whole(Quality.BAD_SENSOR_FAILURE)
NOT_CONNECTED = whole(Quality.BAD_NOT_CONNECTED)
RANGE_EXCEEDED = whole(Quality.UNCERTAIN_OUT_OF_RANGE)

R_NONE = whole(Reason.NONE)
R_NO_REPLY = whole(Reason.NO_REPLY)
R_EXCEPTION = whole(Reason.EXCEPTION)
R_BAD_FRAME = whole(Reason.BAD_FRAME)
R_NOT_A_NUMBER = whole(Reason.NOT_A_NUMBER)
R_OUT_OF_RANGE = whole(Reason.OUT_OF_RANGE)
R_NOT_CONNECTED = whole(Reason.NOT_CONNECTED)
R_TOO_OLD = whole(Reason.TOO_OLD)
R_OVER_BUDGET = whole(Reason.OVER_BUDGET)
R_OVER_PERIOD = whole(Reason.OVER_PERIOD)
R_PEER_CLOSED = whole(Reason.PEER_CLOSED)
R_SEND_REFUSED = whole(Reason.SEND_REFUSED)
R_STOPPED = whole(Reason.STOPPED)
R_BAD_SIGNAL = whole(Reason.BAD_SIGNAL)
R_COMMANDER_LOST = whole(Reason.COMMANDER_LOST)
R_OVERRULED = whole(Reason.OVERRULED)
R_NOT_CONFIRMED = whole(Reason.NOT_CONFIRMED)

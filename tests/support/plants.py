"""A plant with some of everything, and cycles for it that follow from a seed."""

from __future__ import annotations

import numpy as np

from gateway.core.alarms import AlarmDefinition, AlarmKind
from gateway.core.cycle import Cycle, Noted
from gateway.core.events import Event, Severity
from gateway.core.record import Stamp, Stream
from gateway.core.spec import EngineSpec
from gateway.core.types import NS_PER_MS, NS_PER_S, SAMPLE, Kind, Samples
from tests.support.engine import T0, model, tag

"""The register maps that come along: each loads, is planned within its device's limits, and lies where makers say."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from gateway.core.types import SAMPLE, Quality, Samples
from gateway.protocol.modbus.decode import decode_block
from gateway.protocol.modbus.plan import plan
from gateway.settings.planning import point_of
from gateway.settings.schema import ModbusPoint, Tag
from gateway.settings.shipped import shipped
from tests.support.settings import examine_text, problems_of

NAMES = ("abb_b23", "carlo_gavazzi_em340", "eastron_sdm630", "schneider_iem3000", "sma_inverter")
TEXT = """
gateway.id = "g"
[devices.d]
link = {{ modbus_tcp = "10.0.0.5" }}
tag_list = "fieldgate:{name}"
{more}
"""

KNOWN = {
    # tag: table and address, the maker's bytes in the registers, value
    ("eastron_sdm630", "power"): ("input 52", "44 9A 51 EC", 1234.56),
    ("eastron_sdm630", "energy_imported"): ("input 72", "46 40 E6 B7", 12345.67871),
    ("abb_b23", "voltage_l1"): ("holding 23296", "00 00 08 FC", 230.0),
    ("abb_b23", "power"): ("holding 23316", "FF FF FF 9C", -1.0),
    ("abb_b23", "energy_imported"): ("holding 20480", "00 00 00 00 00 01 E2 40", 1234.56),
    ("abb_b23", "frequency"): ("holding 23340", "FF FF", None),
    ("carlo_gavazzi_em340", "power"): ("input 40", "86 A0 00 01", 10_000.0),
    ("carlo_gavazzi_em340", "frequency"): ("input 51", "01 F4", 50.0),
    ("schneider_iem3000", "voltage_l1"): ("holding 3027", "43 66 00 00", 230.0),
    ("schneider_iem3000", "power"): ("holding 3059", "7F C0 00 00", None),
    ("schneider_iem3000", "energy_imported"): ("holding 3203", "00 00 00 00 00 01 E2 40", 123_456),
    ("sma_inverter", "power"): ("input 30775", "80 00 00 00", None),
    ("sma_inverter", "voltage_l2"): ("input 30785", "00 00 59 D8", 230.0),
    ("sma_inverter", "energy_total"): ("input 30513", "00 00 00 00 00 01 E2 40", 123_456),
    ("sma_inverter", "temperature"): ("input 30953", "FF FF FF F6", -1.0),
}


def tags_of(directory: Path, name: str, more: str = "") -> dict[str, Tag]:
    examined = examine_text(directory, TEXT.format(name=name, more=more))
    return {tag.name.removeprefix("d."): tag for tag in examined.settings.tags}


def test_these_come_along() -> None:
    assert tuple(shipped()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_map_names_its_source_and_is_read_in_few_requests(tmp_path: Path, name: str) -> None:
    assert "# Source: " in shipped()[name].read_text(encoding="utf-8")
    tags = tags_of(tmp_path, name, "registers_per_read = 80")
    assert len(tags) >= 12
    assert all(isinstance(tag.point, ModbusPoint) for tag in tags.values())
    blocks = plan(point_of(row, tag) for row, tag in enumerate(tags.values()))
    assert sum(len(block.points) for block in blocks) == len(tags)
    assert all(block.request.count <= 80 for block in blocks)
    assert len(blocks) < len(tags)


@pytest.mark.parametrize(("name", "tag"), KNOWN)
def test_known_registers_read_as_makers_say(tmp_path: Path, name: str, tag: str) -> None:
    place, octets, expected = KNOWN[name, tag]
    found = tags_of(tmp_path, name)[tag]
    (block,) = plan([point_of(0, found)])
    assert block.place.split("-")[0] == place
    out: Samples = np.zeros(1, SAMPLE)
    decode_block(out, block.table, np.frombuffer(bytearray.fromhex(octets), np.uint8), 0, 0)
    if expected is None:
        assert out["quality"][0] == Quality.BAD_SENSOR_FAILURE
        return
    assert out["quality"][0] == Quality.GOOD
    value = out["value"][0] if isinstance(expected, float) else out["bits"][0]
    assert value == pytest.approx(expected, rel=1e-6)


def test_states_and_models_are_told_in_words(tmp_path: Path) -> None:
    assert dict(tags_of(tmp_path, "sma_inverter")["condition"].labels)[307] == "ok"
    model = tags_of(tmp_path, "schneider_iem3000")["model"].point
    assert isinstance(model, ModbusPoint)
    assert (model.address, model.text_registers) == (0x31, 20)


def test_a_map_that_does_not_come_along_is_refused_by_name(tmp_path: Path) -> None:
    (found,) = problems_of(tmp_path, TEXT.format(name="eastron_sdm360", more=""))
    assert found.key == "devices.d.tag_list"
    assert found.message == '"fieldgate:eastron_sdm360" does not come along; did you mean "eastron_sdm630"?'
    (found,) = problems_of(tmp_path, TEXT.format(name="x", more=""))
    assert '"fieldgate:abb_b23"' in found.message


def test_floats_of_the_test_are_those_of_the_standard() -> None:
    assert struct.unpack(">f", bytes.fromhex("43660000"))[0] == 230.0

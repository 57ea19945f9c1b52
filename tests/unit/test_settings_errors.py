"""Each thing that can be wrong with a configuration: where it is reported, and in what words."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings.load import load
from gateway.settings.problems import ConfigurationError
from tests.support.settings import HEAD, HEAD_LINES, LOOP, examine_text, problems_of

DEVICE = '[devices.x]\nlink = "plc"\n'
SENSOR = '[devices.x]\nlink = "floor"\n'
TOPICS = '[topics.t]\nlink = "floor"\nmatch = "a/{device}/{tag}"\n'

# A fragment that comes after HEAD, the place (line within the fragment, column), and how the report begins.
CASES = [
    # Values
    ("[defaults]\nevery = 10", "2:1", 'defaults.every: 10 has no unit; write "10s"'),
    ('[defaults]\nevery = "10"', "2:1", 'defaults.every: "10" has no unit; write "10s"'),
    (
        '[defaults]\nevery = "10 sec"',
        "2:1",
        'defaults.every: "10 sec" is not a duration; write a number with us, µs, ms,',
    ),
    (
        '[reload]\ntrial = "2s"',
        "2:1",
        'reload.trial: "2s" is too short to see anything; write at least "5s", or "0s" for no trial',
    ),
    ('[defaults]\nevery = "1us"', "2:1", 'defaults.every: "1us" is too short; write at least "1ms"'),
    ('[defaults]\nwindows = "1min"', "2:1", 'defaults.windows: "1min" is not an array; write ["10s", "5min"]'),
    ('[defaults]\nwindows = ["1min", "1min"]', "2:1", 'defaults.windows: "1min" stands there twice; write it once'),
    ('[defaults]\nwindows = ["2d"]', "2:1", 'defaults.windows: "2d" is too long; write at most "1d"'),
    (
        '[defaults]\nwindows = ["1s","2s","3s","4s","5s","6s","7s","8s","9s"]',
        "2:1",
        "defaults.windows: has 9 elements;",
    ),
    ('[defaults]\nevry = "1s"', "2:1", 'defaults.evry: is not a setting here; did you mean "every"?'),
    ("[defaults]\nqqq = 1", "2:1", "defaults.qqq: is not a setting here; write one of every, stale_after, windows, or"),
    ("[uplinc]\n", "1:2", 'uplinc: is not a setting here; did you mean "uplink"?'),
    # Links
    (
        '[links.x]\nmodbus_tcp = "h:99999"',
        "2:1",
        "links.x.modbus_tcp: port 99999 does not exist; write one from 1 to 65535",
    ),
    ("[links.x]\n", "1:8", "links.x: has no address; write modbus_tcp ="),
    ('[links.x]\nmodbus_rtu = "COM3"', "2:1", 'links.x.modbus_rtu: "COM3" is not a port; write its whole path'),
    ('[links.x]\nmodbus_rtu = "/dev/a"\nbaud = 9601', "3:1", "links.x.baud: 9601 is no baud rate of a serial port"),
    ('[links.x]\nmodbus_rtu = "/dev/a"\ndata_bits = 7', "3:1", "links.x.data_bits: RTU needs all 8 bits"),
    ('[links.x]\nmodbus_rtu = "h:1"\nparity = "odd"', "3:1", "links.x.parity: belongs to serial ports, and this link"),
    (
        '[links.x]\nmodbus_rtu = "h:1"\nrequests_in_flight = 2',
        "3:1",
        "links.x.requests_in_flight: a serial line carries",
    ),
    ('[links.x]\nmodbus_rtu = "h:1"\nmqtt = "mqtt://h"', "1:8", "links.x: is both modbus_rtu and mqtt; write"),
    ('[links.x]\nmodbus_ascii = "/dev/a"\ninterface = "eth1"', "3:1", "links.x.interface: belongs to links over TCP"),
    ('[links.x]\nmodbus_ascii = "/dev/a"\nrs485 = true', "3:1", "links.x.rs485: true is not a table"),
    ('[links.x]\nmodbus_tcp = "h"\nca_file = "c"', "3:1", "links.x.ca_file: belongs to modbus_tls links"),
    ('[links.x]\nmodbus_tcp = "h"\nsource_address = "eth1"', "3:1", 'links.x.source_address: "eth1" is not an address'),
    ('[links.x]\nmodbus_tcp = "h"\ninterface = "a b"', "3:1", 'links.x.interface: "a b" is no interface'),
    (
        '[links.x]\nmodbus_tls = "h"\nkey_file = "k"',
        "3:1",
        "links.x.key_file: needs the certificate that it belongs to",
    ),
    (
        '[links.l]\nmodbus_rtu = "h:1"\n[devices.x]\nlink = "l"\nunit = 0',
        "5:1",
        "devices.x.unit: 0 is no unit of a serial line; write one from 1 to 247",
    ),
    ('[links.x]\nmqtt = "mqtt://b"\nmodbus_tcp = "h"', "1:8", "links.x: is both modbus_tcp and mqtt; write"),
    ('[links.x]\nmqtt = "b:1883"', "2:1", 'links.x.mqtt: "b:1883" is not a broker\'s address; write "mqtt://'),
    ('[links.x]\nmqtt = "mqtt://b"\nversion = 5', "3:1", 'links.x.version: 5 is not known here; write "3.1.1" or "5"'),
    (
        '[links.x]\nmqtt = "mqtt://b"\npassword = "p"',
        "3:1",
        "links.x.password: would put a secret into this file; write",
    ),
    (
        '[links.x]\nmqtt = "mqtt://b"\npassword_file = "p"',
        "3:1",
        "links.x.password_file: needs a user; write username =",
    ),
    ('[links.x]\nmqtt = "mqtt://b"\nca_file = "p"', "3:1", "links.x.ca_file: has no use without TLS; write mqtts://"),
    (
        '[links.x]\nmqtt = "mqtt://b"\ncert_file = "c"',
        "3:1",
        "links.x.cert_file: has no use without TLS; write mqtts://",
    ),
    ('[links.x]\nmqtt = "mqtts://b"\nkey_file = "k"', "3:1", "links.x.key_file: needs the certificate that it belongs"),
    (
        '[links.x]\nmqtt = "mqtts://b"\nkey_password_file = "k"',
        "3:1",
        "links.x.key_password_file: opens the key of a certificate; write cert_file",
    ),
    (
        '[links.x]\nmqtt = "mqtts://b"\ncert_file = "credential:../k"',
        "3:1",
        'links.x.cert_file: "credential:../k" names no credential; write "credential:NAME"',
    ),
    (
        '[links.x]\nmqtt = "mqtt://b"\nretained = "new"',
        "3:1",
        'links.x.retained: is of MQTT 5; write version = "5", or',
    ),
    (
        '[links.x]\nmqtt = "mqtt://b"\nversion = "5"\nretained = "no"',
        "4:1",
        'links.x.retained: "no" is not known here; write "each", "new" or "never"',
    ),
    (
        '[links.x]\nmqtt = "mqtt://b"\nversion = "5"\nreceive_maximum = 0',
        "4:1",
        "links.x.receive_maximum: 0 is out of range; write",
    ),
    ('[links.x]\nmqtt = "mqtt://b"\nshared_group = "a/b"', "3:1", 'links.x.shared_group: "a/b" has one of / + # in it'),
    (
        '[links.x]\nmqtt = "mqtt://b"\nversion = "5"\nshared_group = "g"\nno_local = true',
        "5:1",
        "links.x.no_local: must not be used with shared subscriptions",
    ),
    (
        '[links.x]\nmodbus_tcp = "h"\nrequests_in_flight = 99',
        "3:1",
        "links.x.requests_in_flight: 99 is out of range; write",
    ),
    ('[links.x]\nmodbus_tcp = "h"\nresponse_timeout = 3', "3:1", 'links.x.response_timeout: 3 has no unit; write "3s"'),
    ('[links.x]\nmodbus_tcp = "h"\nbaud = 9', "3:1", "links.x.baud: 9 is out of range; write a whole number from 300"),
    ('[links."a.b"]\nmodbus_tcp = "h"', "1:8", 'links."a.b": "a.b" is not a name; write at most 64 letters'),
    (
        '[links.x]\nmqtt = "mqtt://127.0.0.1"\nclient_id = "g-floor"',
        "3:1",
        'links.x.client_id: is "g-floor", as that of links',
    ),
    (
        '[journal]\n[devices.n]\nlink = "floor"\ntopic = "a/{tag}"\ntags.x = { durable = true }',
        "5:12",
        "devices.n.tags.x.durable: needs acknowledged messages; write qos = 1 or qos = 2 as well",
    ),
    (
        '[devices.n]\nlink = "floor"\ntopic = "a/{tag}"\ntags.x = { durable = true, qos = 2 }',
        "4:12",
        "devices.n.tags.x.durable: needs the journal, to come through a crash; write [journal]",
    ),
    (
        '[journal]\nleave_out = ["n.*"]\n[devices.n]\nlink = "floor"\ntopic = "a/{tag}"\n'
        "tags.x = { durable = true, qos = 2 }",
        "6:12",
        "devices.n.tags.x.durable: is for nothing while leave_out under [journal] names the tag",
    ),
    # Devices
    (
        '[devices.x]\ntags.a = { register = "holding 0" }',
        "1:10",
        'devices.x.link: is missing; write link = "NAME" of a',
    ),
    ('[devices.x]\nlink = "plk"', "2:1", 'devices.x.link: "plk" is not a link; did you mean "plc"?'),
    (
        "[devices.x]\nlink = { modbus_tcp = 5 }",
        "2:10",
        "devices.x.link.modbus_tcp: 5 is not text; write it in quotes, like",
    ),
    (DEVICE + "unit = 256", "3:1", "devices.x.unit: 256 is out of range; write a whole number from 0 to 255"),
    (
        DEVICE + 'word_order = "middle"',
        "3:1",
        'devices.x.word_order: "middle" is not known here; write "big" or "little"',
    ),
    (DEVICE + 'topic = "a"', "3:1", "devices.x.topic: belongs to devices of mqtt links"),
    (
        DEVICE + 'every = "1s"',
        "3:1",
        "devices.x.every: belongs to the tags; write it into each tag, or into [defaults]",
    ),
    (SENSOR + "unit = 1", "3:1", "devices.x.unit: belongs to devices of Modbus links"),
    (DEVICE + "tags = 5", "3:1", "devices.x.tags: 5 is not a table; write tags = { ... } or [tags]"),
    (
        '[devices."p-{n}"]\nlink = "plc"',
        "1:10",
        'devices."p-{n}": has a variable in its name but none is given; write each',
    ),
    (
        '[devices."p-{n}"]\neach = { n = "9..1" }',
        "2:1",
        'devices."p-{n}".each: n is "9..1"; write a range that counts up',
    ),
    (
        '[devices.p]\neach = { n = "1..2" }',
        "1:10",
        "devices.p: does not name {n}, so its instances would share a name; put",
    ),
    (
        '[devices."p-{n}"]\neach = { n = "1..2" }\nlink = "plc"\nunit = "{m}"',
        "4:1",
        'devices."p-{n}".unit: "{m}" has {m}, which is not known here; write one of {n}, {device}, {tag} (with n = 1)',
    ),
    (
        '[devices."{n}"]\neach = { n = ["d"] }\nlink = "plc"',
        "1:10",
        'devices."{n}": makes "d", which exists already; give it another name (with n = d)',
    ),
    (
        '[devices."p-{n}"]\neach = { n = "1..20001" }',
        "2:1",
        'devices."p-{n}".each: n has 20001 values; write at most 20000',
    ),
    (
        '[devices.x]\nlink = { modbus_tcp = "h" }\n[devices.y]\nlink = { modbus_tcp = "h", request_gap = "1ms" }',
        "4:1",
        "devices.y.link: differs from another link to h:502; write it once as [links.NAME] and use its name",
    ),
    (
        DEVICE + 'tag_list = "nope"',
        "3:1",
        'devices.x.tag_list: "nope" is not a tag list; write the name of a [tag_lists',
    ),
    (DEVICE + 'tag_list = "nope.csv"', "3:1", 'devices.x.tag_list: "nope.csv": there is no file'),
    (DEVICE + "tag_list = 1", "3:1", 'devices.x.tag_list: 1 is not a tag list; write "energy_meter",'),
    (
        '[tag_lists]\na.t = { register = "holding 0" }\nb.t = { register = "holding 1" }\n'
        + DEVICE
        + 'tag_list = ["a", "b"]',
        "6:1",
        'devices.x.tag_list: two of the lists have a tag "t"; take it out of one',
    ),
    # Modbus tags
    (DEVICE + "tags.a = {}", "3:6", 'devices.x.tags.a.register: is missing; write register = "holding 100"'),
    (
        DEVICE + "tags.a = { register = 100 }",
        "3:12",
        "devices.x.tags.a.register: 100 is not a register; write a table and",
    ),
    (DEVICE + 'tags."a.b" = { register = "coil 1" }', "3:6", 'devices.x.tags."a.b": "a.b" is not a name; write'),
    (
        DEVICE + 'tags.a = { register = "holding 65535", type = "int32" }',
        "3:12",
        "devices.x.tags.a.register: reaches address 65536 in device x; the last one is 65535, write a lower one",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", type = "ascii" }',
        "3:36",
        'devices.x.tags.a.type: "ascii" is not a type; write type = "string", registers = 16, and enc',
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", type = "string" }',
        "3:6",
        "devices.x.tags.a.registers: is missing; write how many registers the text has, e.g. registers = 16",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", type = "string", registers = 126 }',
        "3:53",
        "devices.x.tags.a.registers: 126 is out of range; write a whole number from 1 to 125",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 65530", type = "string", registers = 16 }',
        "3:12",
        "devices.x.tags.a.register: reaches address 65545 in device x; the last one is 65535, write a lower one",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", registers = 16 }',
        "3:36",
        'devices.x.tags.a.registers: belongs to texts, and this tag is uint16; write type = "string", or take it out',
    ),
    (
        DEVICE + 'tags.a = { register = "coil 1", type = "string", registers = 16 }',
        "3:33",
        'devices.x.tags.a.type: a coil is one bit; write type = "bool", or leave it out',
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", type = "string", registers = 16, alarm = { low = 1 } }',
        "3:69",
        "devices.x.tags.a.alarm: belongs to numbers, and this tag is a text; take it out",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", type = "string", registers = 122, write = true }',
        "3:70",
        "devices.x.tags.a.write: needs a text of at most 121 registers, as one request carries",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", type = "string", registers = 16, report = { change = 1 } }',
        "3:69",
        "devices.x.tags.a.report: has a deadband, and texts have no distance; write report = {} for any change",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", poll = "metres" }\n[polls.meters]\nevery = "9s"',
        "3:36",
        'devices.x.tags.a.poll: "metres" is not a poll group; did you mean "meters"?',
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", every = "1s", poll = "p" }\n[polls.p]\nevery = "9s"',
        "3:36",
        'devices.x.tags.a.every: is also said by the poll group "p"; take one of them out',
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", poll = "p" }\n[polls.p]\nphase = "9s"',
        "4:8",
        'polls.p.every: is missing; write every = "10s"',
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", poll = "p" }\n[polls.p]\nevery = "9s"\nphase = "9s"',
        "6:1",
        "polls.p.phase: does not lie within the period; write less than 9s, the group's every",
    ),
    (
        DEVICE + 'holes = ["holding 9..2"]',
        "3:1",
        'devices.x.holes: "holding 9..2" does not count up, from 0 to at most 65535; write it so',
    ),
    (
        DEVICE + 'holes = ["holding"]',
        "3:1",
        'devices.x.holes: "holding" is no range of addresses; write it like "holding 100..109"',
    ),
    (
        DEVICE + 'holes = ["holding 2..9"]\ntags.a = { register = "holding 1", type = "float32" }',
        "4:12",
        "devices.x.tags.a.register: lies in a hole of its device, holding 2..9; take one of them out",
    ),
    (
        DEVICE + 'registers_per_read = 3\ntags.a = { register = "holding 1", type = "int64" }',
        "4:12",
        "devices.x.tags.a.register: takes 4 registers, and its device gives 3 at a time; write a higher",
    ),
    (
        '[devices.x]\nlink = "floor"\ntopic = "a/{tag}"\ntags.a = {}\nholes = []',
        "5:1",
        "devices.x.holes: belongs to devices of Modbus links, and this device's link is mqtt",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", labels = { x = "off" } }',
        "3:36",
        'devices.x.tags.a.labels: "x" is not a whole number; write { 0 = "off", 1 = "run" }',
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", labels = { 1 = "on", "0x1" = "off" } }',
        "3:36",
        "devices.x.tags.a.labels: names 0x1 twice; write each value once",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", scale = 0.5, labels = { 1 = "on" } }',
        "3:49",
        "devices.x.tags.a.labels: names whole numbers, and this tag has other values; take out labels, or",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", labels = {} }',
        "3:36",
        "devices.x.tags.a.labels: names 0 values; write 1 to 256 of them",
    ),
    (
        '[devices.x]\nlink = "floor"\ntopic = "a/{tag}"\ntags.a = { labels = { 1 = "on" } }',
        "4:12",
        "devices.x.tags.a.labels: names whole numbers, and this tag has other values; take out labels, or",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", bits = "7..4" }',
        "3:36",
        'devices.x.tags.a.bits: "7..4" is no bit field; count up, from 0 to at most 63, like "4..7"',
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", bits = true }',
        "3:36",
        "devices.x.tags.a.bits: true is no bit field; write one bit, like 3, or a range,",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", bits = 16 }',
        "3:36",
        "devices.x.tags.a.bits: bit 16 is not in uint16; write at most 15, or a longer type",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", type = "float32", bits = 3 }',
        "3:54",
        'devices.x.tags.a.bits: cannot be a part of float32; write type = "uint16" or another whole number',
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", type = "bool", bits = "3..4" }',
        "3:51",
        'devices.x.tags.a.bits: a bool is one bit; write one, like 3, or type = "uint16"',
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", type = "uint32", bits = 3, write = true }',
        "3:63",
        "devices.x.tags.a.write: a part of uint32 cannot be written; write to bits of uint16, or to the whole value",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", verify = true }',
        "3:36",
        "devices.x.tags.a.verify: has no use while the tag is not written; write write = true as well",
    ),
    (
        DEVICE + 'write_with = "both"\ntags.a = { register = "holding 1" }',
        "3:1",
        'devices.x.write_with: "both" is not known here; write "single", "multiple" or "read_write"',
    ),
    (
        '[writes.mqtt]\ntopic = "orders/{tag}"',
        "1:9",
        "writes.mqtt.mqtt: is missing; write the broker's address",
    ),
    (
        '[writes.mqtt]\nmqtt = "mqtt://h"\ntopic = "orders/x{tag}"',
        "3:1",
        "writes.mqtt.topic: must have {tag} as one of its levels",
    ),
    (
        '[writes.mqtt]\nmqtt = "mqtt://h"\nreply = "orders/done"',
        "3:1",
        "writes.mqtt.reply: must have {tag} in it",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", not_available = 0x10000 }',
        "3:36",
        "devices.x.tags.a.not_available: 0x10000 does not fit 16 bits; write a pattern that can be read",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", not_available = "n/a" }',
        "3:36",
        'devices.x.tags.a.not_available: "n/a" is not a register\'s content; write it like 0x8000 or -1',
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", not_available = [1, 2, 3, 4, 5] }',
        "3:36",
        "devices.x.tags.a.not_available: has 5 elements; write 1 to 4 of them, like [0x7FFF, 0x8000]",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", clamp = {} }',
        "3:36",
        "devices.x.tags.a.clamp: has no end; write clamp = { low = 0 }, or high, or both",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", clamp = { low = 5, high = 5 } }',
        "3:46",
        "devices.x.tags.a.clamp.low: 5 is not below high = 5; write the smaller number as low",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", report = { change = 0 } }',
        "3:47",
        "devices.x.tags.a.report.change: 0 is not above zero; write a number greater than 0",
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", stale_after = "10s", report = { heartbeat = "1min" } }',
        "3:68",
        'devices.x.tags.a.report.heartbeat: would let an unchanged value become stale, after 10s; write "5s"',
    ),
    (
        DEVICE + 'tags.a = { register = "holding 1", stale_after = "10s", report = { hold = "6s" } }',
        "3:68",
        "devices.x.tags.a.report.hold: is longer than the heartbeat, 5s; write a shorter one",
    ),
    (
        DEVICE + 'tags.a = { register = "coil 1", bits = 1 }',
        "3:33",
        "devices.x.tags.a.bits: has no use here, a coil is one bit; take it out",
    ),
    (
        DEVICE + 'tags.a = { register = "coil 1", not_available = 1 }',
        "3:33",
        "devices.x.tags.a.not_available: has no use here, a coil is one bit; take it out",
    ),
    (
        DEVICE + 'tags.a = { register = "coil 1", type = "int16" }',
        "3:33",
        "devices.x.tags.a.type: a coil is one bit; write",
    ),
    (
        DEVICE + 'tags.a = { register = "input 1", write = true }',
        "3:34",
        "devices.x.tags.a.write: Modbus cannot write to in",
    ),
    (
        DEVICE + 'tags.a = { register = "coil 1", write = 1 }',
        "3:33",
        "devices.x.tags.a.write: 1 is neither true nor false;",
    ),
    (
        DEVICE + 'tags.a = { register = "input 1", scale = 0 }',
        "3:34",
        "devices.x.tags.a.scale: would make every value 0;",
    ),
    (
        DEVICE + 'tags.a = { register = "input 1", scale = "0,1" }',
        "3:34",
        'devices.x.tags.a.scale: "0,1" is not a number;',
    ),
    (
        DEVICE + 'tags.a = { register = "input 1", every = "5s", stale_after = "5s" }',
        "3:48",
        'devices.x.tags.a.stale_after: would make the value stale before it is read again, every 5s; write "15s"',
    ),
    (
        DEVICE + 'tags.a = { register = "input 1", alarm = { low = 5, high = 5 } }',
        "3:44",
        "devices.x.tags.a.alarm.low: 5 is not below high = 5; write the smaller number as low",
    ),
    (
        DEVICE + 'tags.a = { register = "input 1", alarm = { score = 0 } }',
        "3:44",
        "devices.x.tags.a.alarm.score: 0 is not above 0 and at most 1, as scores are; write 0.9, say",
    ),
    (
        DEVICE + 'tags.a = { register = "input 1", alarm = { persistent = 6 } }',
        "3:44",
        "devices.x.tags.a.alarm.persistent: 6 is not above 0 and at most 1, as scores are; write 0.9, say",
    ),
    (
        DEVICE + 'tags.a = { register = "input 1", topic = "t" }',
        "3:34",
        "devices.x.tags.a.topic: belongs to tags of mqtt",
    ),
    # MQTT tags
    (SENSOR + "tags.a = {}", "3:6", "devices.x.tags.a.topic: is missing; write it here, or topic ="),
    (
        SENSOR + 'topic = "plant/#"\ntags.a = {}',
        "3:1",
        'devices.x.topic: "plant/#" has a wildcard; write the whole topic',
    ),
    (
        SENSOR + 'tags.a = { topic = "t", qos = 3 }',
        "3:25",
        "devices.x.tags.a.qos: 3 is out of range; write a whole number",
    ),
    (
        SENSOR + 'tags.a = { topic = "t", field = "[x]" }',
        "3:25",
        'devices.x.tags.a.field: "[x]" is not a path into JSON',
    ),
    (SENSOR + 'tags.a = { topic = "t", type = "int16" }', "3:25", "devices.x.tags.a.type: is of registers; by MQTT"),
    (
        SENSOR + 'tags.a = { topic = "t", type = "string", scale = 2 }',
        "3:42",
        "devices.x.tags.a.scale: belongs to numbers, and this tag is a text; take it out",
    ),
    (
        '[topics.t]\nlink = "floor"\nmatch = "a/{device}/{tag}"\nevict_idle_after = "5s"\n'
        'report = { heartbeat = "10s" }',
        "4:1",
        "topics.t.evict_idle_after: is not longer than the heartbeat of a report, 10s",
    ),
    (
        TOPICS + 'alarm = { high = 5, unless = "stopped" }',
        "4:1",
        'topics.t.alarm: unless: "stopped" would appear by itself and may leave; name a tag that is written down',
    ),
    (
        TOPICS + 'tags.heat = { alarm = { deviation = { limit = 5, from = "x.y" } } }',
        "4:15",
        'topics.t.tags.heat.alarm: from: "x.y" is not a tag; write device.tag',
    ),
    (
        TOPICS + "limit = 20000\ntags_per_device = 10\nalarm = { high = 5, low = 1 }",
        "1:9",
        "topics.t: brings the alarms of tags that appear to more than 200000: 2 for each of 200000 tags; write a lower",
    ),
    (SENSOR + 'payload = "xml"', "3:1", 'devices.x.payload: "xml" is not known here; write "json"'),
    (SENSOR + 'reading = { name = "n" }', "3:1", "devices.x.reading: tells of readings in an array; write payload"),
    (
        SENSOR + 'payload = "json-array"\nreading = { name = "n", value = "n" }\ntags.a = { topic = "t" }',
        "4:1",
        "devices.x.reading: gives two of its members the same name",
    ),
    (
        SENSOR + 'quality = { good = 1, bad = [2, 1] }\ntags.a = { topic = "t" }',
        "3:23",
        "devices.x.quality.bad: 1 means two qualities; write it once",
    ),
    (
        SENSOR + 'payload = "struct"\ntags.a = { topic = "t" }',
        "4:6",
        'devices.x.tags.a.bytes: is missing; write where the number is, like bytes = "4 float32"',
    ),
    (
        SENSOR + 'payload = "struct"\ntags.a = { topic = "t", bytes = "4 float16" }',
        "4:25",
        'devices.x.tags.a.bytes: "4 float16" is no place in a struct; write first byte and type',
    ),
    (
        SENSOR + 'tags.a = { topic = "t", name = "n" }',
        "3:25",
        'devices.x.tags.a.name: has no meaning where payload = "json"; take it out',
    ),
    (
        SENSOR + 'payload = "senml"\ntags.a = { topic = "t", field = "n" }',
        "4:25",
        'devices.x.tags.a.field: has no meaning where payload = "senml"; take it out',
    ),
    (SENSOR + 'sparkplug = "a"', "3:1", 'devices.x.sparkplug: "a" is not a place in Sparkplug; write "group/edge'),
    (
        SENSOR + 'topic = "t"\nsparkplug = "g/e"\ntags.a = {}',
        "3:1",
        "devices.x.topic: has no meaning beside sparkplug, whose topics are given",
    ),
    (
        SENSOR + 'sparkplug = "g/e"\ntags.a = { field = "v" }',
        "4:12",
        "devices.x.tags.a.field: has no meaning for a metric of Sparkplug; take it out",
    ),
    (
        SENSOR + 'tags.a = { topic = "t", metric = "m" }',
        "3:25",
        'devices.x.tags.a.metric: is of Sparkplug; write sparkplug = "group/edge/device"',
    ),
    (
        '[links.x]\nmqtt = "mqtt://b"\nsparkplug = { host_id = "a/b" }',
        "3:15",
        'links.x.sparkplug.host_id: "a/b" cannot be a host id',
    ),
    (
        SENSOR + 'tags.a = { topic = "t", field = "a..b" }',
        "3:25",
        'devices.x.tags.a.field: "a..b" is not a path into JSON; write "value"',
    ),
    (
        SENSOR + 'tags.a = { topic = "t", report = { change = 0 } }',
        "3:36",
        "devices.x.tags.a.report.change: 0 is not above zero; write a number greater than 0",
    ),
    (
        SENSOR + 'tags.a = { topic = "t", stale_after = "10s", report = { heartbeat = "1min" } }',
        "3:57",
        'devices.x.tags.a.report.heartbeat: would let an unchanged value become stale, after 10s; write "5s"',
    ),
    (
        SENSOR + 'tags.a = { topic = "t", stale_after = "10s", report = { hold = "6s" } }',
        "3:57",
        "devices.x.tags.a.report.hold: is longer than the heartbeat, 5s; write a shorter one",
    ),
    (
        SENSOR + 'tags.a = { topic = "t", type = "string", report = { percent = 1 } }',
        "3:42",
        "devices.x.tags.a.report: has a deadband, and texts have no distance; write report = {} for any change",
    ),
    (
        SENSOR + 'tags.a = { topic = "t", type = "string", clamp = { low = 1 } }',
        "3:42",
        "devices.x.tags.a.clamp: belongs to numbers, and this tag is a text; take it out",
    ),
    (
        SENSOR + 'tags.a = { topic = "t", clamp = {} }',
        "3:25",
        "devices.x.tags.a.clamp: has no end; write clamp = { low = 0 }, or high, or both",
    ),
    (
        SENSOR + 'tags.a = { topic = "t", clamp = { low = 2, high = 1 } }',
        "3:35",
        "devices.x.tags.a.clamp.low: 2 is not below high = 1; write the smaller number as low",
    ),
    (
        SENSOR + 'tags.a = { topic = "t", word_order = "big" }',
        "3:25",
        "devices.x.tags.a.word_order: belongs to tags of Modbus",
    ),
    (
        SENSOR + 'tags.a = { topic = "t", register = "coil 1" }',
        "3:25",
        "devices.x.tags.a.register: belongs to tags of Modbus",
    ),
    # Control
    ("[control.c]\n", "1:10", "control.c.pid: is missing; write pid = {"),
    (LOOP.replace("d.pv", "d.pw"), "2:9", 'control.c.pid.input: "d.pw" is not a tag; did you mean "d.pv"?'),
    (
        LOOP.replace("d.out", "m.t"),
        "2:25",
        "control.c.pid.output: m.t comes by MQTT; write a tag of a Modbus link, or write_topic in this one",
    ),
    (
        LOOP + 'commands = { from = ["local", "phone"] }',
        "5:14",
        'control.c.commands.from: "phone" is not known here; write "local", "page", "scada" or "mqtt"',
    ),
    (LOOP + "commands = { from = [] }", "5:14", "control.c.commands.from: has 0 elements; write 1 to 4 of them"),
    (LOOP + 'commands = { hold = "2d" }', "5:14", "control.c.commands.hold:"),
    (
        LOOP + "setpoint_limits = { rate = 0 }",
        "5:21",
        "control.c.setpoint_limits.rate: 0 is not above zero; write a number greater than 0",
    ),
    (
        LOOP + 'output_within = "1s"',
        "5:1",
        "control.c.output_within: is for outputs by serial lines and by MQTT; by Modbus TCP it is 10 ms; take it out",
    ),
    (
        SENSOR + 'tags.a = { topic = "t", write_payload = "{value}" }',
        "3:25",
        "devices.x.tags.a.write_payload: has no use without a topic; write write_topic",
    ),
    (
        SENSOR + 'tags.a = { topic = "t", write_topic = "s", write_payload = "on" }',
        "3:44",
        'devices.x.tags.a.write_payload: "on" has {value} 0 times; write it once, where the number goes',
    ),
    (
        SENSOR + 'tags.a = { topic = "t", type = "string", write_topic = "s" }',
        "3:42",
        "devices.x.tags.a.write_topic: is for numbers, which loops write, and this tag is a text; take it out",
    ),
    (
        LOOP.replace("d.pv", "e.pv")
        + '[devices.e]\nlink = "plc"\ntags.pv = { register = "holding 3", type = "string", registers = 4 }\n',
        "2:9",
        "control.c.pid.input: e.pv is a text; write a tag that is a number",
    ),
    (
        LOOP.replace("d.pv", "d.pv/10s/mean"),
        "2:9",
        'control.c.pid.input: "d.pv/10s/mean" is neither score, persistent nor WINDOW/FIELD with one of count, mean',
    ),
    (LOOP.replace("d.pv", "blocks.b"), "2:9", 'control.c.pid.input: "blocks.b" is not a block; write the name of a'),
    (LOOP.replace("d.pv", "control.x.output"), "2:9", 'control.c.pid.input: "control.x.output" is no signal of a loop'),
    (
        LOOP.replace("kp = 2", 'kp = 2, setpoint_from = "blocks.b"')
        + '[blocks.b]\nscale = { of = "control.c.output" }\n',
        "5:9",
        "blocks.b: stands in a circle: blocks.b → control.c → blocks.b; take one of these references out",
    ),
    (
        '[blocks.a]\nscale = { of = "blocks.b" }\n[blocks.b]\nsum = { of = ["d.pv", "blocks.a"] }\n',
        "1:9",
        "blocks.a: stands in a circle: blocks.a → blocks.b → blocks.a; take one of these references out",
    ),
    ("[blocks.b]\n", "1:9", "blocks.b: has 0 kinds of block; write one of scale, sum, product"),
    ('[blocks.b]\nmedan = { of = ["d.pv"] }\n', "1:9", "blocks.b: has 0 kinds of block; did you mean"),
    ('[blocks.b]\nlead_lag = { of = "d.pv" }\n', "2:1", 'blocks.b.lead_lag.lag: is missing; write lag = "10s"'),
    (
        '[blocks.b]\ncurve = { of = "d.pv", points = [[0, 1], [0, 2]] }\n',
        "2:24",
        "blocks.b.curve.points: has points that do not rise; write [[0, 0]",
    ),
    (
        '[blocks.b]\non_off = { of = "d.pv", on_at = 5, off_at = 5 }\n',
        "2:36",
        "blocks.b.on_off.off_at: is on_at as well; write two numbers",
    ),
    ('[blocks.b]\ncompare = { of = "d.pv" }\n', "2:1", "blocks.b.compare: needs one of above and below; write above"),
    (
        LOOP + "interlocks = [{ when = 1 }]",
        "5:1",
        "control.c.interlocks: has one without when and output, or with more; write interlocks",
    ),
    (
        LOOP.replace("kp = 2", 'gains = { by = "d.pv", points = [{ at = 0, kp = 1, ti = "1s" }, { at = 9, kp = 2 }] }'),
        "2:81",
        "control.c.pid.gains.points: has ti or td at some points only; write them at all, or at none",
    ),
    (LOOP + 'mode = "cascade"', "5:1", "control.c.mode: needs a setpoint from elsewhere; write setpoint_from in pid"),
    (
        LOOP.replace('"d.out"', '"control.c.setpoint"'),
        "1:10",
        "control.c: stands in a circle: control.c → control.c; take one of these references out",
    ),
    (
        LOOP.replace("output = 0 ", 'output = "hold", rate = 5 '),
        "4:31",
        "control.c.failsafe.rate: has no use where the output is held",
    ),
    (LOOP.replace("d.out", "d.bit"), "2:25", "control.c.pid.output: d.bit is a coil; write a tag in holding registers"),
    (LOOP.replace("d.out", "d.pv"), "2:25", "control.c.pid.output: d.pv is read only; write write = true in that tag"),
    (LOOP.replace(", kp = 2", ""), "2:1", "control.c.pid.kp: is missing; write the gain"),
    (
        LOOP.replace("kp = 2", "kp = -2"),
        "2:58",
        "control.c.pid.kp: -2 is not above zero; write a number greater than 0",
    ),
    (LOOP.replace("kp = 2", "kp = 2, ti = 40"), "2:66", 'control.c.pid.ti: 40 has no unit; write "40s"'),
    (
        LOOP.replace("kp = 2", 'kp = 2, every = "10us"'),
        "2:66",
        'control.c.pid.every: "10us" is too short; write at least "1ms"',
    ),
    (
        LOOP.replace("kp = 2", 'kp = 2, action = "up"'),
        "2:66",
        'control.c.pid.action: "up" is not known here; write "reverse"',
    ),
    (
        LOOP.replace("= 50", "= 150"),
        "2:43",
        "control.c.pid.setpoint: 150 is outside the setpoint's limits; write one from 0",
    ),
    (
        LOOP.replace("min = 0", "min = 100"),
        "3:12",
        "control.c.limits.min: 100 is not below max = 100; write the smaller",
    ),
    (
        LOOP.replace("max = 100", "max = 70000"),
        "3:1",
        "control.c.limits: 0 to 70000 does not fit the output's register; wri",
    ),
    (
        LOOP.replace("limits = { min = 0, max = 100 }", ""),
        "1:10",
        "control.c.limits: do not say how far the output may go;",
    ),
    (
        LOOP.replace("failsafe = { output = 0 }", ""),
        "1:10",
        "control.c.failsafe: is missing: what is the output when the",
    ),
    (
        LOOP.replace("output = 0 ", 'output = "of" '),
        "4:14",
        'control.c.failsafe.output: "of" is neither a number nor "hold',
    ),
    (
        LOOP.replace("output = 0 ", "output = 101 "),
        "4:14",
        "control.c.failsafe.output: 101 is outside the output's limits;",
    ),
    (
        LOOP.replace("output = 0 ", 'output = 0, when_older_than = "150ms" '),
        "4:26",
        'control.c.failsafe.when_older_than: is less than two periods of the loop; write at least "200ms"',
    ),
    (
        LOOP + "setpoint_limits = { min = 0 }",
        "5:1",
        "control.c.setpoint_limits: needs both ends; write { min = 0, max = 100",
    ),
    (
        LOOP.replace("kp = 2", "kp = 2, setpoint_weight = 0.5"),
        "2:66",
        "control.c.pid.setpoint_weight: needs an integral part, or the setpoint is never reached; write ti",
    ),
    (
        LOOP.replace("kp = 2", 'kp = 2, ti = "1s", setpoint_weight = 2'),
        "2:77",
        "control.c.pid.setpoint_weight: 2 is out of range; write a number from 0 to 1",
    ),
    (
        LOOP.replace("kp = 2", 'kp = 2, td = "1s", derivative_filter = 0.5'),
        "2:77",
        "control.c.pid.derivative_filter: 0.5 is out of range; write a number from 1 to 100",
    ),
    (
        LOOP.replace("kp = 2", "kp = 2, derivative_filter = 5"),
        "2:66",
        "control.c.pid.derivative_filter: has no use without a derivative part; write td",
    ),
    (LOOP + "shadow = 1", "5:1", "control.c.shadow: 1 is neither true nor false"),
    (LOOP + "kp = 3", "5:1", "control.c.kp: belongs into pid; write pid ="),
    (
        LOOP + LOOP.replace("control.c", "control.e"),
        "6:1",
        'control.e.pid: drives d.out, as loop "c" does; give each output',
    ),
    # Uplink
    ("[uplink.u]\n", "1:9", "uplink.u.mqtt: is missing; write mqtt ="),
    (
        "".join(f'[uplink.u{n}]\nmqtt = "mqtt://b"\n' for n in range(5)),
        "9:9",
        "uplink.u4: makes more than 4 uplinks; write fewer",
    ),
    (
        '[uplink.u]\nmqtt = "mqtt://b"\n[uplink.v]\nmqtt = "mqtt://b"\naggregates_every = "1s"',
        "5:1",
        "uplink.v.aggregates_every: is 1s, and 10s in uplink.u, which takes aggregates too; records are cut once for",
    ),
    (
        '[uplink.u]\nfile = "r.jsonl"\n[uplink.v]\nfile = "r.jsonl"',
        "4:1",
        "uplink.v.file: is that of uplink.u too; give each a file of its own",
    ),
    (
        '[uplink.u]\nmqtt = "mqtt://b"\nclient_id = "x"\n[uplink.v]\nmqtt = "mqtt://b"\nclient_id = "x"',
        "6:1",
        'uplink.v.client_id: is "x", as that of uplink.u; give each session its own',
    ),
    (
        '[uplink.u]\nmqtt = "mqtt://b"\nclient_id = "x"\n'
        '[uplink.v]\nmqtt = "mqtt://b"\nclient_id = "x"\nsparkplug = "g/e"',
        "6:1",
        'uplink.v.client_id: is "x", as that of uplink.u; give each session its own',
    ),
    ('[uplink.u]\nmqtt = "mqtt://b"\nbuffer = 2000', "3:1", 'uplink.u.buffer: 2000 has no unit; write "2000MB"'),
    (
        '[uplink.u]\nmqtt = "mqtt://b"\nbuffer = "2 gigs"',
        "3:1",
        'uplink.u.buffer: "2 gigs" is not a size; write a number with',
    ),
    ('[uplink.u]\nnats = "mqtt://b"', "2:1", 'uplink.u.nats: "mqtt://b" is not a NATS server'),
    ('[uplink.u]\nnats = "nats://b"\nmqtt = "mqtt://b"', "1:9", "uplink.u: is both mqtt and nats; write one"),
    ('[uplink.u]\nnats = "nats://b"\nsubject = "a.*"', "3:1", 'uplink.u.subject: "a.*" is not a subject; write it'),
    ('[uplink.u]\nnats = "nats://b"\nca_file = "p"', "3:1", "uplink.u.ca_file: has no use without TLS; write tls://"),
    ('[uplink.u]\nkafka = "b:9092"', "2:1", 'uplink.u.kafka: "b:9092" is not a Kafka cluster'),
    ('[uplink.u]\nkafka = "kafka://u@b"', "2:1", "uplink.u.kafka: has a user in its address; write username ="),
    (
        f'[uplink.u]\nkafka = "kafka://{",".join("abcdefghi")}"',
        "2:1",
        "uplink.u.kafka: names 9 brokers; write at most 8",
    ),
    ('[uplink.u]\nkafka = "kafka://b"\ntopic = "a/b"', "3:1", 'uplink.u.topic: "a/b" is not a Kafka topic; write let'),
    (
        '[uplink.u]\nkafka = "kafka://b"\nposition_topic = "a.{stream}"',
        "3:1",
        "uplink.u.position_topic: is one for all",
    ),
    (
        '[uplink.u]\nkafka = "kafka://b"\ntopic = "a"\nposition_topic = "a"',
        "4:1",
        "uplink.u.position_topic: is that of the records; name one of its own",
    ),
    ('[uplink.u]\nkafka = "kafka://b"\nsasl = "plain"', "3:1", "uplink.u.sasl: needs a user; write username = and"),
    ('[uplink.u]\nkafka = "kafka://b"\nusername = "n"', "3:1", "uplink.u.username: needs a password; write password_"),
    ('[uplink.u]\nmqtt = "mqtt://b"\nsparkplug = "plant"', "3:1", 'uplink.u.sparkplug: "plant" is no edge node; write'),
    (
        '[uplink.u]\nmqtt = "mqtt://b"\nprimary_host = "s"',
        "3:1",
        "uplink.u.primary_host: belongs to Sparkplug B; write sparkplug =",
    ),
    (
        '[uplink.u]\nmqtt = "mqtt://b"\nsparkplug = "p/e"\ntopic = "x"',
        "4:1",
        "uplink.u.topic: is Sparkplug's own; take it out",
    ),
    (
        '[uplink.u]\nmqtt = "mqtt://b"\nsparkplug = "p/e"\nstreams = ["samples", "aggregates"]',
        "4:1",
        "uplink.u.streams: has aggregates, and Sparkplug takes events and samples; take it out",
    ),
    (
        '[uplink.u]\nmqtt = "mqtt://b"\nsparkplug = "p/e"\n[uplink.v]\nmqtt = "mqtt://c"\nsparkplug = "p/e"',
        "6:1",
        "uplink.v.sparkplug: is that of uplink.u too; an edge node is one, name each differently",
    ),
    ('[uplink.u]\nhttp = "ftp://b"', "2:1", 'uplink.u.http: "ftp://b" is not an HTTP address; write it like'),
    ('[uplink.u]\nhttp = "http://u:p@b/"', "2:1", "uplink.u.http: has a user in its address; write username ="),
    ('[uplink.u]\nhttp = "http://b/ä"', "2:1", 'uplink.u.http: "http://b/ä" is not an address; write it'),
    ('[uplink.u]\nhttp = "http://b"\nformat = "csv"', "3:1", 'uplink.u.format: "csv" is not known here; write'),
    (
        '[uplink.u]\nhttp = "https://b/write?precision=s"\nformat = "influx"',
        "2:1",
        "uplink.u.http: has precision=s, and times are written in ns; write precision=ns",
    ),
    (
        '[uplink.u]\nhttp = "https://b"\nposition = "https://c"',
        "3:1",
        "uplink.u.position: is on another server than http; write an address there",
    ),
    (
        '[uplink.u]\nhttp = "https://b"\nformat = "influx"\nposition = "https://b/p"',
        "4:1",
        "uplink.u.position: is of format json: points of line protocol are known by themselves; take it out",
    ),
    (
        '[uplink.u]\nhttp = "https://b"\nusername = "u"\ntoken_file = "t"',
        "4:1",
        "uplink.u.token_file: and username are two ways to log in; take one of them out",
    ),
    (
        '[uplink.u]\nmqtt = "mqtt://b"\nencoding = "avro"',
        "3:1",
        'uplink.u.encoding: "avro" is not known here; write "json", "msgpack", "protobuf" or "arrow"',
    ),
    (
        '[uplink.u]\nfile = "o.jsonl"\nencoding = "arrow"',
        "3:1",
        "uplink.u.encoding: has no use here: a file has JSON lines; take it out",
    ),
    (
        '[uplink.u]\nparquet = "archive"\ncompress = "zstd"',
        "3:1",
        "uplink.u.compress: has no use here: Parquet is an encoding, and compressed; take it out",
    ),
    (
        '[uplink.u]\nparquet = "archive"\n[uplink.v]\nparquet = "archive"',
        "4:1",
        "uplink.v.parquet: is that of uplink.u too; give each a folder of its own",
    ),
    ('[uplink.u]\nparquet = "a"\nroom = "1MB"', "3:1", 'uplink.u.room: "1MB" is out of range; write "64MB"'),
    (
        '[uplink.u]\nmqtt = "mqtt://b"\nsparkplug = "p/e"\nstreams = ["events"]\ncompress = "zstd"',
        "5:1",
        "uplink.u.compress: has no use here: Sparkplug B has its own; take it out",
    ),
    (
        '[uplink.u]\nhttp = "https://b"\nformat = "influx"\nencoding = "msgpack"',
        "4:1",
        "uplink.u.encoding: has no use here: line protocol is text, compressed by gzip =; take it out",
    ),
    (
        '[uplink.u]\nhttp = "https://b"\ngzip = true\ncompress = "zstd"',
        "4:1",
        "uplink.u.compress: and gzip = true would compress a record twice; take one of them out",
    ),
    ('[uplink.u]\nfile = "out"', "2:1", 'uplink.u.file: "out" names no file of JSON lines; write "records.jsonl"'),
    ('[uplink.u]\nfile = "o.jsonl"\nrotate = "1MB"', "3:1", 'uplink.u.rotate: "1MB" is out of range; write "16MB"'),
    ('[uplink.u]\nmqtt = "mqtt://b"\ngrace = 600', "3:1", 'uplink.u.grace: 600 has no unit; write "600s"'),
    (
        '[uplink.u]\nmqtt = "mqtt://b"\ngrace = "30d"',
        "3:1",
        'uplink.u.grace: "30d" is too long; write at most "7d"',
    ),
    ('[uplink.u]\nmqtt = "mqtt://b"\ngrace_buffer = "all"', "3:1", 'uplink.u.grace_buffer: "all" is not a size; write'),
    ('[uplink.u]\nmqtt = "mqtt://b"\ndrain = 50', "3:1", 'uplink.u.drain: 50 has no unit; write "50/s"'),
    (
        '[uplink.u]\nmqtt = "mqtt://b"\nstreams = ["event"]',
        "3:1",
        'uplink.u.streams: "event" is not known here; write "event',
    ),
    (
        '[uplink.u]\nmqtt = "mqtt://b"\nsamples_every = "150ms"',
        "3:1",
        'uplink.u.samples_every: 150ms is not a multiple of 100ms; write "100ms", for example',
    ),
    (
        '[uplink.u]\nmqtt = "mqtt://b"\ntopic = "{site}"',
        "3:1",
        'uplink.u.topic: "{site}" has {site}, which is not known here',
    ),
    # Serving
    (
        '[scada]\nmodbus_tcp = "1502"',
        "2:1",
        'scada.modbus_tcp: "1502" is not host:port; write it like "127.0.0.1:1502"',
    ),
    ('[scada]\ntags = ["e.*"]', "2:1", 'scada.tags: "e.*" matches nothing; '),
    (
        "[scada]\nunits = { e = 1 }",
        "2:11",
        "scada.units.e: is not a device; write the name of one, or a glob like pump-*",
    ),
    (
        '[scada]\nclients = ["10.0.0.1/24"]',
        "2:1",
        'scada.clients: "10.0.0.1/24" is not a network (10.0.0.1/24 has host',
    ),
    ('[scada]\nwrite_clients = "all"', "2:1", 'scada.write_clients: "all" is not an array; write ["10.0.0.0/24"]'),
    ("[scada]\nunits = { d = 300 }", "2:11", "scada.units.d: 300 is out of range; write a whole number from 1 to 247"),
    (
        "[scada]\nrules = [{ units = [1] }]",
        "2:1",
        'scada.rules: has a rule without from; write rules = [{ from = ["10.0.0.7"], ',
    ),
    (
        '[scada]\nrules = [{ from = ["10.0.0.7"], reads = [1] }]',
        "2:1",
        'scada.rules: has a rule with "reads"; a rule has from, units, read, write',
    ),
    (
        '[scada]\nrules = [{ from = ["10.0.0.7"], read = ["99-0"] }]',
        "2:1",
        'scada.rules: "99-0" does not rise, or goes beyond 65535; write a span like 0-99',
    ),
    (
        '[scada]\nrules = [{ from = ["10.0.0.7"], units = ["all"] }]',
        "2:1",
        'scada.rules: "all" is no number and no span; write 200, or "0-99"',
    ),
    (
        '[scada]\nwatchdog = "1ms"',
        "2:1",
        'scada.watchdog: "1ms" is too short; ',
    ),
    (
        '[scada]\nwatchdog_loops = ["control.x"]\nwatchdog = "1s"',
        "2:1",
        'scada.watchdog_loops: "control.x" matches nothing; write a name',
    ),
    (
        '[scada]\nwrite = ["control.x.setpoint"]',
        "2:1",
        'scada.write: "control.x.setpoint" matches nothing; write a name',
    ),
    (
        "[http]\nport = 80",
        "2:1",
        "http.port: is not a setting here; write one of cert_file, connections_per_client, key_file, listen,"
        " metrics_clients, users_file, or take it out",
    ),
    (
        "[http]\nconnections_per_client = 65",
        "2:1",
        "http.connections_per_client: 65 is out of range; write a whole number from 1 to 64",
    ),
    (
        "[scada]\nconnections_per_client = 0",
        "2:1",
        "scada.connections_per_client: 0 is out of range; write a whole number from 1 to 32",
    ),
    ('[http]\nlisten = "[::1"', "2:1", 'http.listen: "[::1" is not host:port; write it like "127.0.0.1:1502"'),
    # Syntax
    ("a = 1\na = 2", "2:6", "syntax: cannot overwrite a value; the same key or table"),
    ("every = 10s", "1:11", "syntax: expected newline or end of document after a statement; write key = value"),
    ("a = [1,", "1:8", "syntax: "),
]


@pytest.mark.parametrize(("fragment", "place", "report"), CASES, ids=[case[2][:50] for case in CASES])
def test_each_problem_is_reported_where_it_is_and_nothing_else_is(
    tmp_path: Path, fragment: str, place: str, report: str
) -> None:
    found = [str(problem) for problem in problems_of(tmp_path, HEAD + fragment)]
    line, _, column = place.partition(":")
    assert len(found) == 1, found
    expected = f"{tmp_path / 'gateway.toml'}:{HEAD_LINES + int(line)}:{column}: {report}"
    assert found[0][: len(expected)] == expected


def test_the_gateway_needs_an_id(tmp_path: Path) -> None:
    (missing,) = problems_of(tmp_path, "")
    assert (missing.line, missing.column, missing.key) == (1, 1, "gateway.id")
    (wrong,) = problems_of(tmp_path, '[gateway]\nid = "boiler house"\n')
    assert '"boiler house" is not a name' in wrong.message


def test_ten_problems_in_one_file_are_all_reported_from_top_to_bottom(tmp_path: Path) -> None:
    text = """\
[gateway]
id = "boiler house"
log_level = "loud"
[links.plc]
modbus_tcp = "10.0.0.5:502"
response_timeout = 1
[devices.boiler]
link = "plc"
unit = 300
tags.a = { register = "holding 70000" }
tags.b = { register = "holding 1", typ = "int16" }
tags.c = { register = "holding 2", windows = ["1"] }
[control.x]
pid = { input = "boiler.q", output = "boiler.b", setpoint = 1, kp = 1 }
limits = { min = 0, max = 1 }
failsafe = { output = 0 }
[http]
listen = 9464
[scada]
modbus_tcp = "127.0.0.1"
"""
    found = problems_of(tmp_path, text)
    assert [problem.key for problem in found] == [
        "gateway.id",
        "gateway.log_level",
        "links.plc.response_timeout",
        "devices.boiler.unit",
        "devices.boiler.tags.a.register",
        "devices.boiler.tags.b.typ",
        "devices.boiler.tags.c.windows",
        "control.x.pid.input",
        "control.x.pid.output",
        "http.listen",
        "scada.modbus_tcp",
    ]
    assert [problem.line for problem in found] == sorted(problem.line for problem in found)


def test_a_device_without_a_link_has_its_tags_checked_all_the_same(tmp_path: Path) -> None:
    text = """
[devices.x]
link = "plk"
unit = 300
tags.a = { register = "holding 70000" }
[devices.y]
link = { modbus_tcp = "h:0" }
tags.a = { register = "coil 1", type = "int16" }
[links.z]
modbus_tpc = "h"
"""
    assert [(found.key, found.message[:43]) for found in problems_of(tmp_path, HEAD + text)] == [
        ("devices.x.link", '"plk" is not a link; did you mean "plc"?'),
        ("devices.x.unit", "300 is out of range; write a whole number f"),
        ("devices.x.tags.a.register", "address 70000 does not exist; write one fro"),
        ("devices.y.link.modbus_tcp", "port 0 does not exist; write one from 1 to "),
        ("devices.y.tags.a.type", 'a coil is one bit; write type = "bool", or '),
        ("links.z", 'has no address; did you mean "modbus_tcp"?'),
    ]


def test_one_mistake_is_not_reported_again_by_all_that_refer_to_it(tmp_path: Path) -> None:
    rest = LOOP + '[scada]\ntags = ["d.*"]\nunits = { d = 2 }\nwrite = ["control.c.mode"]\n'
    assert problems_of(tmp_path, HEAD + rest) == ()
    (found,) = problems_of(tmp_path, HEAD.replace('link = "plc"', 'link = "plk"') + rest)
    assert found.key == "devices.d.link"
    (found,) = problems_of(tmp_path, HEAD.replace('link = "plc"', 'link = "plc"\ntag_list = "x.csv"') + rest)
    assert found.key == "devices.d.tag_list"
    (found,) = problems_of(tmp_path, HEAD.replace('"10.0.0.5:502"', "5") + rest)
    assert found.key == "links.plc.modbus_tcp"
    (found,) = problems_of(tmp_path, HEAD + rest.replace("kp = 2", "kp = 0"))
    assert found.key == "control.c.pid.kp"
    (tmp_path / "x.csv").write_text("name,register\nbad name,holding 0\n", encoding="utf-8")
    lists = HEAD.replace("tags.pv", "tags.pw").replace('link = "plc"', 'link = "plc"\ntag_list = "x.csv"')
    (found,) = problems_of(tmp_path, lists + rest)
    assert found.file.name == "x.csv"


@pytest.mark.parametrize(
    ("count", "link", "report"),
    [
        (65, '{ modbus_tcp = "h" }', "n has 65 values; write at most 64"),
        (17, '{ modbus_tcp = "h{n}" }', "brings the loops to more than 16 links; share connections (with n = 17)"),
        (16, '{ modbus_tcp = "h{n}" }', None),
    ],
)
def test_the_executive_takes_a_limited_number_of_loops_and_links(
    tmp_path: Path, count: int, link: str, report: str | None
) -> None:
    text = f"""
gateway.id = "g"
[devices."p-{{n}}"]
each = {{ n = "1..{count}" }}
link = {link}
tags.pv = {{ register = "input 0" }}
tags.out = {{ register = "holding 0", write = true }}
[control."p-{{n}}"]
each = {{ n = "1..{count}" }}
pid = {{ input = "p-{{n}}.pv", output = "p-{{n}}.out", setpoint = 1, kp = 1 }}
limits = {{ min = 0, max = 1 }}
failsafe = {{ output = "hold" }}
"""
    assert [found.message for found in problems_of(tmp_path, text)] == ([report] if report is not None else [])


def test_two_names_of_one_register_are_one_output(tmp_path: Path) -> None:
    alias = """
[devices.alias]
link = { modbus_tcp = "10.0.0.5" }
tags.out = { register = "holding 8", type = "float32", write = true }
"""
    other = LOOP.replace("control.c", "control.e").replace("d.out", "alias.out")
    (found,) = problems_of(tmp_path, HEAD + alias + LOOP + other)
    assert (found.key, found.message) == (
        "control.e.pid",
        'drives alias.out, as loop "c" does; give each output one loop',
    )
    assert problems_of(tmp_path, HEAD + alias.replace("10.0.0.5", "10.0.0.6") + LOOP + other) == ()


def test_a_setpoint_that_scada_may_write_needs_limits(tmp_path: Path) -> None:
    text = HEAD.replace(", valid = { low = 0, high = 100 }", "") + LOOP
    examined = examine_text(tmp_path, text)
    assert (examined.settings.loops[0].setpoint_min, examined.settings.loops[0].setpoint_max) == (50, 50)
    (found,) = problems_of(tmp_path, text + '[scada]\nwrite = ["control.*"]\n')
    assert found.key == "control.c.setpoint_limits"
    assert "write setpoint_limits = { min = 0, max = 100 }" in found.message


def test_a_problem_of_a_template_is_reported_once_with_its_first_instance(tmp_path: Path) -> None:
    text = HEAD + '[devices."p-{n}"]\neach = { n = "250..260" }\nlink = "plc"\nunit = "{n}"\n'
    (found,) = problems_of(tmp_path, text)
    assert found.message == "256 is out of range; write a whole number from 0 to 255 (with n = 256)"


def test_files_that_are_no_text_are_refused_with_a_place(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(b'[gateway]\nid = "\xff"\n')
    with pytest.raises(ConfigurationError, match=r"gateway.toml:2:7: file: is not UTF-8 text"):
        load(path)
    path.write_text("a = " + "[" * 100 + "]" * 100, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="nested deeper than 32"):
        load(path)
    path.write_text("a = " + "[" * 100_000, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="nested deeper than 32"):
        load(path)
    path.write_text("a = " + "9" * 5_000, encoding="utf-8")
    with pytest.raises(ConfigurationError, match="syntax"):
        load(path)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path / "missing.toml")

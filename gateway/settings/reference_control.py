"""Reference of loops and function blocks."""

from __future__ import annotations

from gateway.settings import loop, loopbounds, loopextras
from gateway.settings.forms import Form
from gateway.settings.reference_key import NOTHING, REQUIRED, Key
from gateway.settings.reference_links import EACH
from gateway.settings.units import flag, number, positive, text

SIGNAL = Form(
    'a tag as "device.tag", its "/score" or "/10s/mean", "blocks.NAME", "control.NAME.output", or a number',
    {"type": ["string", "number"]},
)
CONDITION = Form('a signal, or a condition like "boiler.pressure > 8"', {"type": ["string", "number"]})
SIGNALS = Form('an array of signals, like ["boiler.t1", "boiler.t2"]', {"type": "array", "minItems": 1, "maxItems": 9})
CONDITIONS = Form('an array of conditions, like ["plc.ready", "plc.pressure < 8"]', SIGNALS.schema)
POINTS = Form("an array of 2 to 12 points", {"type": "array", "minItems": 2, "maxItems": 12})
STEPS = Form('an array like [{ until = "plc.open", within = "30s" }]', {"type": "array", "minItems": 1, "maxItems": 8})
INTERLOCK = Form('an array like [{ when = "boiler.pressure > 8", output = 0 }]', {"type": "array", "maxItems": 9})
NUMBERS = Form("an array of numbers, one for each input", {"type": "array"})
TIME = Form('a duration like "30s"', {"type": "string"})
OUTPUT = 'The tag that is driven, with write = true; or "control.NAME.setpoint", or "signal" for none.'


def _block(kind: str, *keys: tuple[str, Form, str, str]) -> tuple[Key, ...]:
    return tuple(Key(f"blocks.NAME.{kind}.{key}", form, default, words) for key, form, default, words in keys)


ANY_NUMBER = Form("a number", {"type": ["number", "string"]})
_OF = ("of", SIGNAL, REQUIRED, "The input.")
_OF_MANY = ("of", SIGNALS, REQUIRED, "The inputs.")

BLOCKS = (
    Key("blocks.NAME.each", EACH, NOTHING, "Makes one block for each value; {n} is replaced in every text inside."),
    *_block("scale", _OF, ("gain", ANY_NUMBER, "1", "Times this."), ("offset", ANY_NUMBER, "0", "And then plus this.")),
    *_block("sum", _OF_MANY, ("gains", NUMBERS, "(1 each)", "What each input is multiplied by.")),
    *_block("product", ("of", SIGNALS, REQUIRED, "The inputs; a ratio is a product with a number.")),
    *_block("minimum", ("of", SIGNALS, REQUIRED, "The inputs; the lowest that is good.")),
    *_block("maximum", ("of", SIGNALS, REQUIRED, "The inputs; the highest that is good.")),
    *_block("median", ("of", SIGNALS, REQUIRED, "The inputs; the middle one of those that are good.")),
    *_block("mean", ("of", SIGNALS, REQUIRED, "The inputs; the mean of those that are good.")),
    *_block("first", ("of", SIGNALS, REQUIRED, "The inputs; the first that is good.")),
    *_block(
        "lead_lag",
        _OF,
        ("lead", TIME, "0s", "Time constant of the lead."),
        ("lag", TIME, REQUIRED, "Time constant of the lag; alone: a filter."),
    ),
    *_block("deadband", _OF, ("band", ANY_NUMBER, REQUIRED, "Keeps its value until the input is so far away.")),
    *_block(
        "rate_limit",
        _OF,
        ("up", ANY_NUMBER, REQUIRED, "Fastest rise, in units a second; a ramp of a setpoint."),
        ("down", ANY_NUMBER, "(as up)", "Fastest fall."),
    ),
    *_block(
        "profile",
        ("run", CONDITION, REQUIRED, "Its course begins when this becomes true, and is at its start while it is not."),
        ("hold", CONDITION, NOTHING, "Stops its clock."),
        ("points", POINTS, REQUIRED, 'Time and value of each, like [["0s", 20], ["30min", 80]].'),
    ),
    *_block("curve", _OF, ("points", POINTS, REQUIRED, "Input and output of each; a split range is two curves.")),
    *_block(
        "on_off",
        _OF,
        ("on_at", ANY_NUMBER, REQUIRED, "1 from here on."),
        ("off_at", ANY_NUMBER, REQUIRED, "0 from here on; below on_at: it switches on upwards."),
        ("min_on", TIME, "0s", "Shortest time on."),
        ("min_off", TIME, "0s", "Shortest time off."),
    ),
    *_block(
        "compare",
        _OF,
        ("above", ANY_NUMBER, "(this or below)", "1 above it."),
        ("below", ANY_NUMBER, "(this or above)", "1 below it."),
        ("hysteresis", ANY_NUMBER, "0", "How far back it must go to be 0 again."),
    ),
    *_block("all", ("of", CONDITIONS, REQUIRED, "1 when all are true.")),
    *_block("any", ("of", CONDITIONS, REQUIRED, "1 when one is true.")),
    *_block("none", ("of", CONDITIONS, REQUIRED, "1 when none is true.")),
    *_block(
        "latch",
        ("set", CONDITION, REQUIRED, "Makes it 1."),
        ("reset", CONDITION, REQUIRED, "Makes it 0, and goes first."),
    ),
    *_block(
        "timer",
        ("of", CONDITION, REQUIRED, "The input."),
        ("on_delay", TIME, "0s", "1 when the input was true for so long."),
        ("off_delay", TIME, "0s", "0 when it was false for so long."),
    ),
    *_block(
        "sequence",
        ("run", CONDITION, REQUIRED, "Begins with step 1; while it is false the number is 0."),
        ("steps", STEPS, REQUIRED, "Each goes on when until is true; after within it is a fault: minus its number."),
    ),
    *_block(
        "choose",
        ("by", SIGNAL, REQUIRED, "Which of the values: 0, 1, 2 and so on."),
        ("values", SIGNALS, REQUIRED, "The values; another number gives a bad one."),
    ),
    *_block(
        "counter",
        ("every", TIME, "1s", "Counts up by one each time: a heartbeat for the device."),
        ("end", ANY_NUMBER, "65535", "After this it is 0 again."),
    ),
)

CONTROL = (
    Key("control.NAME.each", EACH, NOTHING, "Makes one loop for each value; {n} is replaced in every text inside."),
    Key(
        "control.NAME.mode",
        loop.START_MODE,
        "(cascade with a setpoint from elsewhere, else auto)",
        "How it starts; manual until somebody switches it over.",
    ),
    Key("control.NAME.pid.input", SIGNAL, REQUIRED, "What is held, as device.tag or another signal."),
    Key("control.NAME.pid.output", text, REQUIRED, OUTPUT),
    Key("control.NAME.follow.input", SIGNAL, REQUIRED, "What the output follows, within its limits and its rate."),
    Key("control.NAME.follow.output", text, REQUIRED, OUTPUT),
    Key("control.NAME.follow.every", loop.EVERY, "100ms", "Period of the loop."),
    Key("control.NAME.pid.setpoint", number, REQUIRED, "The value to hold, in the input's unit."),
    Key("control.NAME.pid.setpoint_from", SIGNAL, NOTHING, "The setpoint while the loop is in cascade."),
    Key("control.NAME.pid.form", loop.FORM, "isa", "isa: kp, ti and td; parallel: kp, ki and kd."),
    Key("control.NAME.pid.kp", positive, REQUIRED, "Gain, in output units for each input unit. Not with gains."),
    Key("control.NAME.pid.ki", positive, NOTHING, "Parallel form: gain of the integral, kp / ti."),
    Key("control.NAME.pid.kd", positive, NOTHING, "Parallel form: gain of the derivative, kp · td."),
    Key("control.NAME.pid.gains.by", SIGNAL, REQUIRED, "What the gains are scheduled by."),
    Key("control.NAME.pid.gains.points", POINTS, REQUIRED, "at, kp, ti and td of each point; between them a line."),
    Key("control.NAME.pid.feed_forward", SIGNAL, NOTHING, "Is added to the output, within its limits."),
    Key(
        "control.NAME.pid.back_calculation",
        loop.TIME_CONSTANT,
        "(conditional integration)",
        "Anti-windup: time constant with which an output that was held back corrects the integral.",
    ),
    Key("control.NAME.interlocks", INTERLOCK, NOTHING, "Outputs that are demanded, in every mode, while when is true."),
    Key(
        "control.NAME.dead_man",
        loopextras.DEAD_MAN,
        NOTHING,
        "Without a command (a setpoint, mode or output, the same one too) for so long it goes to its fail-safe.",
    ),
    Key(
        "control.NAME.output_within",
        loopbounds.OUTPUT_WITHIN,
        "(250ms by a serial line or a converter, 500ms by MQTT)",
        "From the input to the confirmed output, where it does not go by Modbus TCP; later is a miss, and told.",
    ),
    Key("control.NAME.read_back", flag, "false", "Reads a written output again; writes and tells what is not there."),
    Key("control.NAME.on_arrival", flag, "false", "Acts when its input comes, and not only on its period."),
    Key("control.NAME.pid.ti", loop.TIME_CONSTANT, "(no integral part)", "Integral time."),
    Key("control.NAME.pid.td", loop.TIME_CONSTANT, "(no derivative part)", "Derivative time."),
    Key("control.NAME.pid.setpoint_weight", number, "1", "Share of a setpoint's step that acts at once, from 0 to 1."),
    Key("control.NAME.pid.derivative_filter", number, "8", "The derivative is smoothed with td divided by this."),
    Key("control.NAME.shadow", flag, "false", "Computes and shows the output, and writes nothing."),
    Key("control.NAME.pid.every", loop.EVERY, "100ms", "Period of the loop."),
    Key(
        "control.NAME.pid.action",
        loop.ACTION,
        "reverse",
        "reverse: the output rises when the input falls (heating); direct: with it (cooling).",
    ),
    Key("control.NAME.limits.min", number, "(low of the output's `valid`)", "Lowest output."),
    Key("control.NAME.limits.max", number, "(high of the output's `valid`)", "Highest output."),
    Key("control.NAME.limits.rate", positive, "(no limit)", "Fastest change of the output, in units a second."),
    Key(
        "control.NAME.setpoint_limits.min", number, "(low of the input's `valid`)", "Lowest setpoint anybody may write."
    ),
    Key(
        "control.NAME.setpoint_limits.max",
        number,
        "(high of the input's `valid`)",
        "Highest setpoint anybody may write.",
    ),
    Key(
        "control.NAME.setpoint_limits.rate",
        positive,
        "(at once)",
        "How fast a written setpoint is approached, a second.",
    ),
    Key(
        "control.NAME.commands.from",
        loopextras.WAYS,
        '["local", "page", "scada", "mqtt"]',
        "Who may command the loop, the most important first: `fieldgate write`, the page, SCADA clients, MQTT.",
    ),
    Key(
        "control.NAME.commands.hold",
        loopextras.HOLD,
        "0s",
        "For so long after a command others are refused, but for the more important. 0s: the last one wins.",
    ),
    Key("control.NAME.failsafe.output", loopbounds.failsafe_output, REQUIRED, "The output of a bad or old input."),
    Key("control.NAME.failsafe.rate", positive, "(at once)", "How fast the output goes there, in units a second."),
    Key(
        "control.NAME.failsafe.when_older_than",
        loopbounds.WHEN_OLDER_THAN,
        "(ten periods, at least 500ms)",
        "Age of the input at which the loop goes there. At least two periods.",
    ),
    *BLOCKS,
)

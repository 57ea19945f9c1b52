"""From the text of a formula to its steps: a lexer, and a Pratt parser (Pratt, 1973) that writes postfix as it goes.

    or · and · not · < <= > >= == != · + - · * / % · - (sign) · ** · ( )        from loose to tight

    boiler.temperature     a tag; without a dot, one of the same device
    'pump-1.flow'          in quotes where a name has a -, or begins with a digit
    'pump-*.flow'          a pattern, of roll-ups only: sum, mean, min, max, count
    mean(flow, 1min)       a statistic of one of the tag's windows
    3.5  1e3  true  false  constants

Nothing is evaluated here, and nothing of Python's: what is not in the grammar is refused with its column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

from gateway.core.formula import FUNCTIONS, ROLL_UPS, STATISTICS, WORDS, Formula, Input, Op, Word
from gateway.core.limits import FORMULA_DEPTH_MAX, FORMULA_INPUTS_MAX, FORMULA_STEPS_MAX

NS_BY_UNIT: Final = {
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_TOKEN = re.compile(
    r"""(?P<space>[ ]+)
    | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?P<suffix>[A-Za-zµ°]*)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)?)
    | '(?P<single>[^'"]*)' | "(?P<double>[^'"]*)"
    | (?P<sign>\*\*|<=|>=|==|!=|[-+*/%<>(),])""",
    re.VERBOSE,
)
_INSTEAD: Final = {
    "^": "write ** for a power",
    "=": "write == to compare",
    "&": "write and",
    "|": "write or",
    "!": "write not, or !=",
    "?": "write if(condition, then, else)",
    "[": "write a function, like mean(boiler.temperature, 1min)",
    ";": "write one expression",
}
_RESERVED: Final = frozenset({"and", "or", "not", "true", "false"})

COMPARISONS: Final = {
    "<": Op.LESS,
    "<=": Op.LESS_EQUAL,
    ">": Op.GREATER,
    ">=": Op.GREATER_EQUAL,
    "==": Op.EQUAL,
    "!=": Op.NOT_EQUAL,
}
BINARY: Final[dict[str, tuple[int, Op]]] = {
    "or": (1, Op.OR),
    "and": (2, Op.AND),
    **{sign: (4, op) for sign, op in COMPARISONS.items()},
    "+": (5, Op.ADD),
    "-": (5, Op.SUBTRACT),
    "*": (6, Op.MULTIPLY),
    "/": (6, Op.DIVIDE),
    "%": (6, Op.MODULO),
    "**": (8, Op.POWER),
}
"""How tightly each binds. `not` is 3, a sign 7; ** binds to the right."""
NOT_BINDS, COMPARISON_BINDS, SIGN_BINDS, POWER_BINDS = 3, 4, 7, 8

Resolve: TypeAlias = Callable[[str, bool], Sequence[str]]
"""The full names of the tags that a name, or with True a pattern, stands for. Raises ValueError, saying why none."""


class FormulaError(Exception):
    """What is wrong with a formula; `column` counts from 1."""

    def __init__(self, column: int, message: str) -> None:
        super().__init__(message)
        self.column = column


class Token(NamedTuple):
    """`kind`: number, duration, name, quoted, sign or end. A number's `value` is the number, a duration's its ns."""

    kind: str
    text: str
    column: int
    value: float = 0.0


def tokens_of(text: str) -> list[Token]:
    found = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            if text[at] in "'\"":
                raise FormulaError(at + 1, "a quote is not closed; names stand in single quotes, like 'pump-1.flow'")
            raise FormulaError(at + 1, f'"{text[at]}" is not known; {_INSTEAD.get(text[at], "take it out")}')
        column, at = at + 1, match.end()
        if match["number"] is not None:
            found.append(_number(match["number"], match["suffix"], column))
        elif match["name"] is not None:
            found.append(Token("name", match["name"], column))
        elif match["sign"] is not None:
            found.append(Token("sign", match["sign"], column))
        elif match["space"] is None:
            found.append(Token("quoted", match["single"] if match["single"] is not None else match["double"], column))
    found.append(Token("end", "", len(text) + 1))
    return found


def _number(digits: str, suffix: str, column: int) -> Token:
    value = float(digits)
    if not suffix:
        if value > 1e300:
            raise FormulaError(column, f"{digits} is too large for a number")
        return Token("number", digits, column, value)
    if suffix in NS_BY_UNIT:
        return Token("duration", digits + suffix, column, round(value * NS_BY_UNIT[suffix]))
    raise FormulaError(column, f"{digits}{suffix} is neither a number nor a duration; constants have no unit")


class _Parser:
    """One formula. Steps are written behind those of their operands."""

    def __init__(self, text: str, resolve: Resolve) -> None:
        self._tokens = tokens_of(text)
        self._at = 0
        self._resolve = resolve
        self._nesting = 0
        self.steps: list[tuple[int, int, int]] = []
        self.constants: list[float] = []
        self.inputs: list[Input] = []

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._next
        self._at += token.kind != "end"
        return token

    def _is(self, text: str) -> bool:
        return self._next.kind in ("sign", "name") and self._next.text == text

    def _expect(self, text: str, where: str) -> None:
        token = self._take()
        if token.kind == "end":
            raise FormulaError(token.column, f'ends where "{text}" is missing {where}')
        if token.text != text or token.kind != "sign":
            raise FormulaError(token.column, f'"{token.text}" stands where "{text}" is missing {where}')

    def whole(self) -> None:
        self._expression(0)
        token = self._next
        if token.kind == "duration":
            raise FormulaError(token.column, "a duration stands only behind a tag, as in mean(flow, 1min)")
        if token.kind != "end":
            hint = "put names with - into single quotes" if token.kind in ("name", "number") else "take it out"
            raise FormulaError(token.column, f'"{token.text}" was not expected here; {hint}')

    def _expression(self, binds: int) -> None:
        """All that binds more tightly than `binds`."""
        self._nesting += 1
        if self._nesting > FORMULA_DEPTH_MAX:
            raise FormulaError(self._next.column, f"is nested deeper than {FORMULA_DEPTH_MAX}; make it two tags")
        self._operand()
        compared = False
        while self._next.kind in ("sign", "name") and self._next.text in BINARY:
            own, op = BINARY[self._next.text]
            if own <= binds:
                break
            token = self._take()
            if own == COMPARISON_BINDS and compared:
                raise FormulaError(token.column, "compares three things; write a < b and b < c")
            compared = own == COMPARISON_BINDS
            self._expression(own - (own == POWER_BINDS))
            self._step(op, token)
        self._nesting -= 1

    def _operand(self) -> None:
        token = self._take()
        if token.kind == "number":
            self._constant(token.value, token)
        elif token.kind == "quoted":
            self._tag(token)
        elif token.kind == "name":
            self._word(token)
        elif token.text == "(":
            self._expression(0)
            self._expect(")", "at the end of the brackets")
        elif token.text in ("-", "+"):
            self._expression(SIGN_BINDS)
            if token.text == "-":
                self._step(Op.NEGATE, token)
        elif token.kind == "end":
            raise FormulaError(token.column, "ends where a value is missing; write a tag or a number")
        elif token.kind == "duration":
            raise FormulaError(token.column, "a duration stands only behind a tag, as in mean(flow, 1min)")
        else:
            raise FormulaError(token.column, f'"{token.text}" stands where a value is missing')

    def _word(self, token: Token) -> None:
        if token.text in ("true", "false"):
            self._constant(float(token.text == "true"), token)
        elif token.text == "not":
            self._expression(NOT_BINDS)
            self._step(Op.NOT, token)
        elif token.text in _RESERVED:
            raise FormulaError(token.column, f'"{token.text}" stands where a value is missing')
        elif self._is("("):
            self._take()
            self._call(token)
        else:
            self._tag(token)

    def _call(self, word: Token) -> None:
        if word.text not in WORDS:
            raise FormulaError(word.column, f'"{word.text}" is not a function; write one of {", ".join(WORDS)}')
        if word.text in STATISTICS and self._is_statistic():
            self._statistic(word)
        elif word.text in ROLL_UPS and (word.text not in FUNCTIONS or self._has_pattern()):
            self._roll_up(word)
        elif word.text in FUNCTIONS:
            self._function(word, FUNCTIONS[word.text])
        else:
            raise FormulaError(
                word.column, f"{word.text} is of a tag and one of its windows: {word.text}(boiler.temperature, 1min)"
            )

    def _is_statistic(self) -> bool:
        return self._tokens[self._at + 2 : self._at + 3] != [] and self._tokens[self._at + 2].kind == "duration"

    def _has_pattern(self) -> bool:
        """Whether an argument of the call that begins here is a pattern."""
        depth = 0
        for token in self._tokens[self._at :]:
            depth += (token.kind == "sign") * ((token.text == "(") - (token.text == ")"))
            if depth < 0:
                return False
            if depth == 0 and token.kind == "quoted" and is_pattern(token.text):
                return True
        return False

    def _statistic(self, word: Token) -> None:
        name = self._take()
        self._expect(",", "behind the tag")
        window = self._take()
        self._expect(")", f"behind the window of {word.text}")
        (tag,) = self._resolved(name)
        self._input(Input(tag, STATISTICS[word.text], int(window.value)), window)

    def _roll_up(self, word: Token) -> None:
        first = len(self.inputs)
        while True:
            token = self._take()
            if token.kind not in ("name", "quoted"):
                raise FormulaError(
                    token.column, f"{word.text} is of tags and patterns, like {word.text}('pump-*.flow')"
                )
            self.inputs += [Input(tag) for tag in self._resolved(token)]
            if len(self.inputs) > FORMULA_INPUTS_MAX:
                raise FormulaError(
                    token.column,
                    f"brings the formula to {len(self.inputs)} inputs; {FORMULA_INPUTS_MAX} are the most: roll up in "
                    "two steps",
                )
            if not self._is(","):
                break
            self._take()
        self._expect(")", f"at the end of {word.text}")
        self._step(ROLL_UPS[word.text], word, first, len(self.inputs) - first)

    def _function(self, word: Token, function: Word) -> None:
        count = 0
        while True:
            self._expression(0)
            count += 1
            if function.takes_more and count > 1:
                self._step(function.op, word)
            if not self._is(","):
                break
            self._take()
        self._expect(")", f"at the end of {word.text}")
        if count < function.arguments or (count > function.arguments and not function.takes_more):
            most = " or more" if function.takes_more else ""
            raise FormulaError(word.column, f"{word.text} takes {function.arguments}{most} arguments, not {count}")
        if not function.takes_more:
            self._step(function.op, word)

    def _tag(self, token: Token) -> None:
        if token.kind == "quoted" and is_pattern(token.text):
            raise FormulaError(token.column, "a pattern stands only in sum, mean, min, max or count")
        (tag,) = self._resolved(token)
        self._input(Input(tag), token)

    def _resolved(self, token: Token) -> Sequence[str]:
        if token.kind not in ("name", "quoted"):
            raise FormulaError(token.column, f'"{token.text}" stands where a tag is missing')
        if token.kind == "name" and token.text in _RESERVED:
            raise FormulaError(token.column, f'"{token.text}" stands where a tag is missing')
        try:
            return self._resolve(token.text, token.kind == "quoted" and is_pattern(token.text))
        except ValueError as error:
            raise FormulaError(token.column, str(error)) from None

    def _constant(self, value: float, token: Token) -> None:
        if value not in self.constants:
            self.constants.append(value)
        self._step(Op.CONSTANT, token, self.constants.index(value))

    def _input(self, wanted: Input, token: Token) -> None:
        if wanted not in self.inputs:
            self.inputs.append(wanted)
        self._step(Op.INPUT, token, self.inputs.index(wanted))

    def _step(self, op: Op, token: Token, a: int = 0, b: int = 0) -> None:
        if len(self.steps) >= FORMULA_STEPS_MAX:
            raise FormulaError(token.column, f"has more than {FORMULA_STEPS_MAX} steps; make it two tags")
        self.steps.append((int(op), a, b))


def is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


def parse_formula(text: str, resolve: Resolve, every_ns: int = 0) -> Formula:
    """Raises FormulaError."""
    parser = _Parser(text, resolve)
    parser.whole()
    if not parser.inputs:
        raise FormulaError(1, "names no tag, so it would never change; write one")
    return Formula(text, tuple(parser.steps), tuple(parser.constants), tuple(parser.inputs), every_ns)

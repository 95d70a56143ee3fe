"""Numbers between bounds, digit by digit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from lollms_llamacpp.grammar.nodes import EMPTY, Chars, Choice, Literal, Node, Repeat, Rules, run

__all__ = ["Bounds", "any_number", "integers", "numbers"]

_DIGITS: Final = Chars(((0x30, 0x39),))
_MOST_DIGITS: Final = 18
"""Of an integer without a bound: what fits 64 bits. More would be a loop of a confused model, not a number."""
_EXACT_DIGITS: Final = 15
"""Decimal numbers of so many digits differ as 64-bit floating-point numbers, too; those of 16 may not (DBL_DIG)."""
_MOST_STATES: Final = 64


@dataclass(frozen=True, slots=True)
class Bounds:
    """What numbers are meant; None is no bound.

    Attributes:
        low, high: the least and the greatest.
        above, below: whether these two are left out themselves.
        multiple: integers are multiples of it; 1 is no condition.
    """

    low: Decimal | None = None
    high: Decimal | None = None
    above: bool = False
    below: bool = False
    multiple: int = 1

    @property
    def empty(self) -> bool:
        if self.low is None or self.high is None:
            return False
        return self.low > self.high or (self.low == self.high and (self.above or self.below))


def integers(rules: Rules, bounds: Bounds) -> Node | None:
    """The integers within `bounds`, in the form that ``json.dumps`` writes; None if there are none.

    Without a bound they have at most 18 digits. A `multiple` over 64 is heeded only if there are few such numbers.
    """
    low = None if bounds.low is None else int(bounds.low.to_integral_value(ROUND_CEILING))
    high = None if bounds.high is None else int(bounds.high.to_integral_value(ROUND_FLOOR))
    if bounds.above and low is not None and low == bounds.low:
        low += 1
    if bounds.below and high is not None and high == bounds.high:
        high -= 1
    multiple = bounds.multiple
    if low is not None and high is not None:
        first, last = -(-low // multiple) * multiple, high // multiple * multiple
        if first > last:
            return None
        if multiple > 1 and (last - first) // multiple < 200:
            return rules.choice(Literal(str(number)) for number in range(first, last + 1, multiple))
    if multiple > _MOST_STATES:
        multiple = 1
    most = 10 ** max(_MOST_DIGITS, len(str(abs(low or 0))), len(str(abs(high or 0)))) - 1
    if low is None:
        low = -most if high is None or high >= 0 else min(-most, high)
    if high is None:
        high = most if low <= 0 else max(most, low)
    options: list[Node] = []
    if high >= 0:
        options += _whole(rules, max(low, 0), high, multiple)
    if low < 0:
        # Zero has no sign.
        options += [run(Literal("-"), option) for option in _whole(rules, max(1, -high), -low, multiple)]
    return rules.choice(options) if options else None


def numbers(rules: Rules, bounds: Bounds) -> Node | None:
    """The numbers within `bounds`; None if there are none.

    With bounds they have no exponent and no more digits than a 64-bit floating-point number tells apart. Bounds of
    more digits than that are not heeded.
    """
    if bounds.empty:
        return None
    if bounds.low is None and bounds.high is None:
        return any_number(rules)
    places = max((_places(bound) for bound in (bounds.low, bounds.high) if bound is not None), default=0)
    digits = max((len(_split(bound, 0)[0]) for bound in (bounds.low, bounds.high) if bound is not None), default=1)
    if places + digits > _EXACT_DIGITS:
        return any_number(rules)
    most = Decimal(10 ** max(digits, _EXACT_DIGITS - places - 1) - 1)
    low = -most if bounds.low is None else bounds.low
    high = most if bounds.high is None else bounds.high
    options: list[Node] = []
    if high >= 0:
        above = bounds.above and low >= 0
        options += _fractional(rules, max(low, Decimal(0)), high, above, bounds.below)
    if low < 0:
        below = high < 0 and bounds.below
        least = max(Decimal(0), -high)
        # "-0.0" is a number that no bound below zero lets through.
        options += [run(Literal("-"), o) for o in _fractional(rules, least, -low, below or high >= 0, bounds.above)]
    return rules.choice(options) if options else None


def any_number(rules: Rules) -> Node:
    """Every finite number of up to 18 digits before and after the point, in the forms that ``json.dumps`` has."""
    fraction = run(Literal("."), Repeat(_DIGITS, 1, _MOST_DIGITS))
    maybe_fraction = rules.share(Choice((fraction, EMPTY)))
    leading = Chars(((0x31, 0x39),))
    # From e308 on there are numbers that a 64-bit floating-point number cannot hold: they would be infinite.
    exponent = rules.share(
        Choice(
            (
                run(Literal("-"), Repeat(_DIGITS, 1, 3)),
                run(rules.share(Choice((Literal("+"), EMPTY))), rules.share(_exponents())),
            )
        )
    )
    after_first_digit = Choice(
        (
            run(Repeat(_DIGITS, 0, _MOST_DIGITS - 1), maybe_fraction),
            run(maybe_fraction, Chars(((0x45, 0x45), (0x65, 0x65))), exponent),
        )
    )
    unsigned = Choice((run(Literal("0"), maybe_fraction), run(leading, rules.share(after_first_digit))))
    return run(rules.share(Choice((Literal("-"), EMPTY))), rules.share(unsigned))


def _exponents() -> Node:
    one_or_two = Repeat(_DIGITS, 1, 2)
    hundreds = run(Chars(((0x31, 0x32),)), Repeat(_DIGITS, 2, 2))
    return Choice((one_or_two, hundreds, run(Literal("30"), Chars(((0x30, 0x37),)))))


# Integers ---------------------------------------------------------------------------------------------


def _whole(rules: Rules, low: int, high: int, multiple: int) -> Iterator[Node]:
    """One alternative for each number of digits that the integers from `low` to `high` have; `low` is not negative."""
    writer = _Whole(rules, multiple)
    free_from: int | None = None
    for length in range(len(str(low)), len(str(high)) + 1):
        least = max(low, 0 if length == 1 else 10 ** (length - 1))
        most = min(high, 10**length - 1)
        if least > most:
            continue
        whole_length = (length > 1 and least == 10 ** (length - 1)) and most == 10**length - 1
        if whole_length and multiple == 1:
            # Lengths that are complete are one alternative: a first digit and a number of others.
            free_from = length if free_from is None else free_from
            if length < len(str(high)):
                continue
            yield run(Chars(((0x31, 0x39),)), Repeat(_DIGITS, free_from - 1, length - 1))
            free_from = None
            continue
        if free_from is not None:
            yield run(Chars(((0x31, 0x39),)), Repeat(_DIGITS, free_from - 1, length - 2))
            free_from = None
        node = writer.digits(str(least), str(most), 0, low=True, high=True, rest=0)
        if node is not None:
            yield node


class _Whole:
    """Integers of one length between two others; `rest` is what the digits so far leave when divided."""

    def __init__(self, rules: Rules, multiple: int) -> None:
        self._rules = rules
        self._multiple = multiple
        self._free: dict[tuple[int, int], Node | None] = {}

    def digits(self, least: str, most: str, at: int, *, low: bool, high: bool, rest: int) -> Node | None:
        if at == len(least):
            return EMPTY if rest == 0 else None
        if not low and not high:
            return self._any(len(least) - at, rest)
        first = int(least[at]) if low else 0
        last = int(most[at]) if high else 9
        options: dict[Node, list[int]] = {}
        for digit in range(first, last + 1):
            after = self.digits(
                least,
                most,
                at + 1,
                low=low and digit == first,
                high=high and digit == last,
                rest=(rest * 10 + digit) % self._multiple,
            )
            if after is not None:
                options.setdefault(after, []).append(digit)
        return _of_digits(self._rules, options)

    def _any(self, count: int, rest: int) -> Node | None:
        if self._multiple == 1:
            return Repeat(_DIGITS, count, count) if count > 1 else _DIGITS
        key = (count, rest)
        if key not in self._free:
            if not count:
                return EMPTY if rest == 0 else None
            options: dict[Node, list[int]] = {}
            for digit in range(10):
                after = self._any(count - 1, (rest * 10 + digit) % self._multiple)
                if after is not None:
                    options.setdefault(after, []).append(digit)
            self._free[key] = _of_digits(self._rules, options)
        return self._free[key]


def _of_digits(rules: Rules, options: dict[Node, list[int]]) -> Node | None:
    """A digit and what follows it, from what follows and after which digits."""
    if not options:
        return None
    made = tuple(run(_some_digits(digits), after) for after, digits in options.items())
    return made[0] if len(made) == 1 else rules.share(Choice(made))


def _some_digits(digits: list[int]) -> Node:
    if len(digits) == 1:
        return Literal(str(digits[0]))
    ranges: list[tuple[int, int]] = []
    for digit in digits:
        code = 0x30 + digit
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1] = (ranges[-1][0], code)
        else:
            ranges.append((code, code))
    return Chars(tuple(ranges))


# Numbers with a fraction ------------------------------------------------------------------------------


def _places(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _split(number: Decimal, places: int) -> tuple[str, str]:
    """The digits before and after the point, without a sign."""
    whole, _, fraction = f"{abs(number):f}".partition(".")
    return whole.lstrip("0") or "0", fraction.rstrip("0").ljust(places, "0")


def _fractional(rules: Rules, low: Decimal, high: Decimal, above: bool, below: bool) -> Iterator[Node]:
    """One alternative for each number of digits before the point; `low` is not negative."""
    places = max(_places(low), _places(high))
    (low_whole, low_rest), (high_whole, high_rest) = _split(low, places), _split(high, places)
    for length in range(len(low_whole), len(high_whole) + 1):
        first, last = length == len(low_whole), length == len(high_whole)
        least = low_whole + low_rest if first else "1" + "0" * (length - 1 + places)
        most = high_whole + high_rest if last else "9" * (length + places)
        if least > most:
            continue
        if length > 1 and int(least[:length]) < 10 ** (length - 1):
            least = "1" + "0" * (length - 1 + places)
        writer = _Fractional(rules, least, most, length, above and first, below and last)
        node = writer.digits(0, low=True, high=last)
        if node is not None:
            yield node


class _Fractional:
    """Numbers with `length` digits before the point between two others, given as digits without the point."""

    def __init__(self, rules: Rules, least: str, most: str, length: int, above: bool, below: bool) -> None:
        self._rules = rules
        self._least, self._most, self._length = least, most, length
        self._above, self._below = above, below
        self._room = max(0, _EXACT_DIGITS - length)  # for digits after the point

    def digits(self, at: int, *, low: bool, high: bool) -> Node | None:
        """What can stand from the digit `at` on, after the same digits as the least (`low`) or the most (`high`)."""
        if at == self._length:
            ends = self._ends(at, low=low, high=high)
            fraction = self._digit(at, low=low, high=high) if self._room else None
            options: list[Node] = [EMPTY] if ends else []
            if fraction is not None:
                options.insert(0, run(Literal("."), fraction))
            return self._one(options)
        if at < self._length:
            return self._digit(at, low=low, high=high)
        shorter: list[Node] = [EMPTY] if self._ends(at, low=low, high=high) else []
        more = self._digit(at, low=low, high=high) if at - self._length < self._room else None
        return self._one([more, *shorter] if more is not None else shorter)

    def _one(self, options: list[Node]) -> Node | None:
        if not options:
            return None
        return options[0] if len(options) == 1 else self._rules.share(Choice(tuple(options)))

    def _digit(self, at: int, *, low: bool, high: bool) -> Node | None:
        if not low and not high:
            if at < self._length:
                fraction = run(Literal("."), Repeat(_DIGITS, 1, self._room)) if self._room else EMPTY
                maybe = self._rules.share(Choice((fraction, EMPTY))) if self._room else EMPTY
                return run(Repeat(_DIGITS, self._length - at, self._length - at), maybe)
            return Repeat(_DIGITS, 1, self._room - (at - self._length))
        if at == len(self._least):
            return self._beyond(at, low=low, high=high)
        first = int(self._least[at]) if low else 0
        last = int(self._most[at]) if high else 9
        options: dict[Node, list[int]] = {}
        for digit in range(first, last + 1):
            after = self.digits(at + 1, low=low and digit == first, high=high and digit == last)
            if after is not None:
                options.setdefault(after, []).append(digit)
        return _of_digits(self._rules, options)

    def _ends(self, at: int, *, low: bool, high: bool) -> bool:
        """Whether the number may end here: the digits that are missing are zeros."""
        enough = not low or (not self._least[at:].strip("0") and not self._above)
        below = not high or bool(self._most[at:].strip("0")) or not self._below
        return enough and below

    def _beyond(self, at: int, *, low: bool, high: bool) -> Node | None:
        """More digits than the bounds have, at least one."""
        room = self._room - (at - self._length)
        if room < 1:
            return None
        if high:
            # More than zeros would be too much.
            zeros = Chars(((0x30, 0x30),))
            return None if self._below or (low and self._above) else Repeat(zeros, 1, room)
        if low and self._above:
            return self._not_all_zeros(room)
        return Repeat(_DIGITS, 1, room)

    def _not_all_zeros(self, most: int) -> Node | None:
        """Up to `most` digits, one of which is not 0."""
        if most < 1:
            return None
        other: Node = run(Chars(((0x31, 0x39),)), Repeat(_DIGITS, 0, most - 1) if most > 1 else EMPTY)
        zero_first = self._not_all_zeros(most - 1)
        return other if zero_first is None else self._rules.share(Choice((other, run(Literal("0"), zero_first))))

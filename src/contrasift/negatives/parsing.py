"""Policies and their schedules from text, as options have them."""

from __future__ import annotations

import ast
import bisect
from collections.abc import Callable
from dataclasses import dataclass

from contrasift.errors import UsageError
from contrasift.negatives.policies import (
    Policy,
    above,
    above_positive,
    difficulty,
    duplicates,
    everything,
    margin,
    random,
    relevant,
    same_class,
    same_latent_class,
)

_FUNCTIONS: dict[str, tuple[Callable[..., Policy], int]] = {
    "difficulty": (difficulty, 2),
    "above": (above, 1),
    "above_positive": (above_positive, 1),
    "margin": (margin, 1),
    "random": (random, 1),
}


_NAMES: dict[str, Policy] = {
    policy.text: policy
    for policy in (same_class, same_latent_class, duplicates, relevant, everything)
}


_FORMS = (
    "difficulty(LOW,HIGH), above(COSINE), above_positive(SHARE), margin(WIDTH), random(SHARE), "
    + ", ".join(_NAMES)
)


def parse_policy(text: str) -> Policy:
    """A policy from its text; `~` binds stronger than `&`, and `&` stronger than `|`.

    Args:
        text: for example `difficulty(95,100) & ~same_class`.

    Returns:
        The policy; its own `text` is the canonical one.

    Raises:
        UsageError: no such policy, or bad numbers.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _unknown(text, text) from None
    return _policy_of(tree.body, text)


@dataclass(frozen=True)
class Schedule:
    """Which policy holds from which epoch on.

    Attributes:
        starts: epochs, ascending; the first is 0.
        policies: as many; None: all negatives, as a loss without a policy uses them.
    """

    starts: tuple[int, ...]
    policies: tuple[Policy | None, ...]

    def at(self, epoch: int) -> Policy | None:
        """The policy of an epoch."""
        return self.policies[bisect.bisect_right(self.starts, epoch) - 1]

    def compares(self, part: str) -> bool:
        """Whether any of them compares these tags."""
        return any(policy.compares(part) for policy in self.policies if policy)

    @property
    def chooses(self) -> bool:
        """Whether there is a policy at all."""
        return any(self.policies)


def parse_schedule(first: str, later: str = "") -> Schedule:
    """A policy for the beginning and others from later epochs on.

    Args:
        first: text of a policy; empty: all negatives.
        later: `EPOCH: POLICY; EPOCH: POLICY`, ascending epochs of at least 1; may be empty.

    Raises:
        UsageError: no policy, or epochs that are no numbers or out of order.
    """
    starts, policies = [0], [parse_policy(first) if first.strip() else None]
    for part in later.split(";") if later.strip() else []:
        epoch, colon, text = part.partition(":")
        if not colon or not epoch.strip().isdecimal() or int(epoch) <= starts[-1]:
            raise UsageError(
                "a schedule `EPOCH: POLICY; EPOCH: POLICY` with ascending epochs from 1 on",
                repr(part.strip()),
                'For example: negatives_schedule="10: difficulty(50,100); 20: difficulty(95,100)"',
            )
        starts.append(int(epoch))
        policies.append(parse_policy(text))
    return Schedule(tuple(starts), tuple(policies))


def _policy_of(node: ast.expr, text: str) -> Policy:
    match node:
        case ast.BinOp(left=left, op=ast.BitAnd(), right=right):
            return _policy_of(left, text) & _policy_of(right, text)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _policy_of(left, text) | _policy_of(right, text)
        case ast.UnaryOp(op=ast.Invert(), operand=operand):
            return ~_policy_of(operand, text)
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            make, count = _FUNCTIONS[name]
            if len(arguments) == count:
                return make(*(_value_of(argument, text) for argument in arguments))
    raise _unknown(ast.unparse(node), text)


def _value_of(node: ast.expr, text: str) -> float:
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value_of(operand, text)
    raise _unknown(ast.unparse(node), text)


def _unknown(part: str, text: str) -> UsageError:
    return UsageError(
        f"a policy made of {_FORMS}, joined by & | ~ and parentheses",
        f"{part!r}" + (f" in {text!r}" if part != text else ""),
        "For example: 'difficulty(95,100) & ~same_class'",
    )

"""Commands that load nothing for their options: typer would read each value with pydantic and draw help with rich.

What typer calls is overridden by its public name alone; a test counts the modules, should a release call another.
"""

from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup


class _Value:
    """How one option or argument is read. Shape: `kind` is str, int, bool (a flag), Path or an Enum; `many` of it."""

    def __init__(self, kind: Any, low: float | None, high: float | None, *, many: bool) -> None:
        self._kind, self._low, self._high, self._many = kind, low, high, many

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Raises: BadParameter."""
        if self._many and value is not None:
            return [self._one(each, param, ctx) for each in value]
        return self._one(value, param, ctx)

    def _one(self, value: Any, param: Any, ctx: Any) -> Any:
        if value is None or (isinstance(self._kind, type) and isinstance(value, self._kind)):
            return value
        try:
            found = self._kind(value)
        except ValueError:
            raise typer.BadParameter(f"{value!r} is not {self._wanted()}.", ctx=ctx, param=param) from None
        if (self._low is not None and found < self._low) or (self._high is not None and found > self._high):
            raise typer.BadParameter(f"{value} is not in the range {self._low}<=x<={self._high}.", ctx=ctx, param=param)
        return found

    def _wanted(self) -> str:
        if issubclass(self._kind, Enum):
            return f"one of {', '.join(str(choice.value) for choice in self._kind)}"
        return "a valid integer" if self._kind is int else f"a valid {self._kind.__name__}"


def _lighten(params: list[Any]) -> list[Any]:
    for param in params:
        found = getattr(param, "type_descriptor", None)
        kind = getattr(found, "annotation", None)
        many = get_origin(kind) is list and param.nargs == -1
        kind = get_args(kind)[0] if many else kind
        if found is None or not isinstance(kind, type) or not (many or param.nargs == 1) or param.multiple:
            continue
        if kind in {str, int, bool} or issubclass(kind, Path | Enum):
            value = _Value(kind, found.parameter_info.min, found.parameter_info.max, many=many)
            param.get_runtime_param = lambda value=value: value
    return params


class LeanCommand(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _lighten(super().get_params(ctx))


class LeanGroup(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _lighten(super().get_params(ctx))


def group(name: str, about: str) -> typer.Typer:
    """A noun of the command; its verbs are registered by `command`."""
    return typer.Typer(name=name, help=about, no_args_is_help=True, cls=LeanGroup, rich_markup_mode=None)

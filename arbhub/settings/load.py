"""Reading the configuration: a TOML file, then ARBHUB_... variables, then --set, each over the one before.

A variable's name is the key with "__" for the dots: ARBHUB_HUB__DEADLINE_MS=5. Values are TOML; what is not
TOML is taken as text. Every complaint names the place (file, variable or option), the key and what is allowed.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from arbhub.settings.schema import Settings

PREFIX = "ARBHUB_"
Key = tuple[str, ...]


class SettingsError(ValueError):
    """A configuration that cannot be used; the text has a line for each thing wrong."""


def load(
    path: Path | None, assignments: Iterable[str] = (), environ: Mapping[str, str] | None = None
) -> Settings:
    """The validated settings; `path` None stands for the defaults alone. SettingsError says what is wrong."""
    place = str(path) if path else "settings"
    content = _read(path) if path else {}
    origin: dict[Key, str] = {}
    variables = os.environ if environ is None else environ
    for name in sorted(n for n in variables if n.startswith(PREFIX)):
        key = _variable_key(name)
        _assign(content, key, _value(variables[name]), name)
        origin[key] = name
    for assignment in assignments:
        key, value = _assignment(assignment)
        _assign(content, key, value, f"--set {assignment}")
        origin[key] = f"--set {assignment}"
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise SettingsError("\n".join(_complaints(error, place, origin))) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from None


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assignment(text: str) -> tuple[Key, Any]:
    name, equals, value = text.partition("=")
    try:
        tree: Any = tomllib.loads(f"{name} = 0") if equals else {}
    except tomllib.TOMLDecodeError:
        tree = {}
    key: list[str] = []
    while isinstance(tree, dict) and len(tree) == 1:
        (step,) = tree
        key.append(step)
        tree = tree[step]
    if not key or tree != 0:
        raise SettingsError(f"--set {text}: should be KEY=VALUE with a dotted key, such as hub.deadline_ms=5")
    return tuple(key), _value(value.strip())


def _variable_key(name: str) -> Key:
    """Variables are upper case and section names lower; below a section's own keys the case is kept."""
    key: list[str] = []
    model: Any = Settings
    for step in name.removeprefix(PREFIX).split("__"):
        own = isinstance(model, type) and issubclass(model, BaseModel)
        key.append(step.lower() if own else step)
        model = model.model_fields[key[-1]].annotation if own and key[-1] in model.model_fields else None
    return tuple(key)


def _assign(content: dict[str, Any], key: Key, value: Any, place: str) -> None:
    for step in key[:-1]:
        content = content.setdefault(step, {})
        if not isinstance(content, dict):
            raise SettingsError(f"{place}: {step} is a value, not a table")
    content[key[-1]] = value


def _complaints(error: ValidationError, place: str, origin: Mapping[Key, str]) -> Iterable[str]:
    for detail in error.errors():
        if not detail["loc"]:  # what contradicts across sections names its keys itself
            for line in str(detail["ctx"]["error"]).splitlines():
                key, _, rest = line.partition(": ")
                yield f"{origin.get(tuple(key.split('.')), place)}: {key}: {rest}"
            continue
        key = tuple(str(step) for step in detail["loc"])
        yield f"{origin.get(key, place)}: {'.'.join(key)}: {_what(detail)}"


def _what(detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        allowed = _allowed(detail["loc"][:-1])
        close = difflib.get_close_matches(str(detail["loc"][-1]), allowed, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"unknown key; {hint}allowed here: {', '.join(allowed)}"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}, not {detail['input']!r}"


def _allowed(loc: tuple[int | str, ...]) -> list[str]:
    model: Any = Settings
    for step in loc:
        field = model.model_fields.get(str(step)) if hasattr(model, "model_fields") else None
        model = field.annotation if field else _item(model)
    return sorted(model.model_fields) if hasattr(model, "model_fields") else []


def _item(annotation: Any) -> Any:
    """The model that a mapping or tuple of models holds."""
    for argument in getattr(annotation, "__args__", ()):
        if hasattr(argument, "model_fields") or getattr(argument, "__args__", ()):
            return argument
    return annotation

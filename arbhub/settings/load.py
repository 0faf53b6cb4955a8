"""Reading the configuration: a TOML file, then ARBHUB_... variables, then --set, each over the one before.

A variable's name is the key with "__" for the dots: ARBHUB_HUB__DEADLINE_MS=5. Values are TOML; what is not
TOML is taken as text. Every complaint names the place (file, variable or option), the key and what is allowed.
"""

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from arbhub.settings.schema import Settings
from arbhub.settings.secret import HIDDEN, SecretUrl, is_secret, masked

PREFIX = "ARBHUB_"
Key = tuple[str, ...]


class SettingsError(ValueError):
    """A configuration that cannot be used; the text has a line for each thing wrong."""


def load(path: Path | None, assignments: Iterable[str] = (), environ: Mapping[str, str] | None = None) -> Settings:
    """The validated settings; `path` None stands for the defaults alone. SettingsError says what is wrong."""
    return _over(_read(path) if path else {}, str(path) if path else "settings", assignments, environ)


def load_text(
    text: str, place: str, assignments: Iterable[str] = (), environ: Mapping[str, str] | None = None
) -> Settings:
    """The same of a file's text; `place` stands for its name in complaints."""
    return _over(_parsed(text, place), place, assignments, environ)


def _over(
    content: dict[str, Any], place: str, assignments: Iterable[str], environ: Mapping[str, str] | None
) -> Settings:
    """The settings of a file's content, with variables and assignments over it."""
    origin: dict[Key, str] = {}
    variables = os.environ if environ is None else environ
    for name in sorted(n for n in variables if n.startswith(PREFIX)):
        key = _variable_key(name)
        _assign(content, key, _value(variables[name]), name)
        origin[key] = name
    for assignment in assignments:
        key, value = _assignment(assignment)
        origin[key] = _option(assignment, key)
        _assign(content, key, value, origin[key])
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        raise SettingsError("\n".join(_complaints(error, place, origin))) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return _parsed(path.read_bytes().decode(), str(path))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is not TOML: {error}") from None


def _parsed(text: str, place: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{place}: is not TOML: {error}") from None
    except RecursionError:
        raise SettingsError(f"{place}: its tables or lists are nested deeper than any setting") from None


def _value(text: str) -> Any:
    try:
        content = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return content["value"] if len(content) == 1 else text


def _assignment(text: str) -> tuple[Key, Any]:
    name, equals, value = text.partition("=")
    try:
        tree: Any = tomllib.loads(f"{name} = 0") if equals else {}
    except (tomllib.TOMLDecodeError, RecursionError):
        tree = {}
    key: list[str] = []
    while isinstance(tree, dict) and len(tree) == 1:
        (step,) = tree
        key.append(step)
        tree = tree[step]
    if not key or tree != 0:
        raise SettingsError(
            f"--set {masked(text)}: should be KEY=VALUE with a dotted key, such as hub.deadline_ms=5; a part with "
            f'other characters than letters, digits, - and _ stands in quotes, such as EX1."BTC/BRL".lot_size=0.001'
        )
    return tuple(key), _value(value.strip())


def _option(text: str, key: Key) -> str:
    """An option as it may be shown."""
    return f"--set {text.partition('=')[0]}={HIDDEN}" if _holds_secret(key) else f"--set {masked(text)}"


def _holds_secret(key: Iterable[int | str]) -> bool:
    """Whether nobody may see what stands there."""
    *_, last = (str(step) for step in key)
    annotation = _at(key)
    return SecretUrl in (annotation, *get_args(annotation)) or is_secret(last) or last.endswith("url")


def _variable_key(name: str) -> Key:
    """Variables are upper case and setting names lower; the case of a venue's or an asset's name is kept."""
    key: list[str] = []
    annotation: Any = Settings
    for step in name.removeprefix(PREFIX).split("__"):
        key.append(step.lower() if _section(annotation) else step)
        annotation = _inside(annotation, key[-1])
    return tuple(key)


def _assign(content: dict[str, Any], key: Key, value: Any, place: str) -> None:
    for step in key[:-1]:
        content = content.setdefault(step, {})
        if not isinstance(content, dict):
            raise SettingsError(f"{place}: {step} is a value, not a table")
    content[key[-1]] = value


def _complaints(error: ValidationError, file: str, origin: Mapping[Key, str]) -> Iterable[str]:
    for detail in error.errors():
        if not detail["loc"]:  # what contradicts across sections names its keys itself
            for line in str(detail["ctx"]["error"]).splitlines():
                name, _, rest = line.partition(": ")
                yield f"{_place(tuple(name.split('.')), file, origin)}: {name}: {rest}"
            continue
        key = tuple(str(step) for step in detail["loc"])
        yield f"{_place(key, file, origin)}: {'.'.join(key)}: {_what(detail)}"


def _place(key: Key, file: str, origin: Mapping[Key, str]) -> str:
    """Where a key was said last: itself, the table or list that it stands in, or (if only there) part of it."""
    for length in range(len(key), 0, -1):
        if key[:length] in origin:
            return origin[key[:length]]
    parts = {place for said, place in origin.items() if said[: len(key)] == key}
    return parts.pop() if len(parts) == 1 else file


def _what(detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        section = _section(_at(detail["loc"][:-1]))
        allowed = sorted(section.model_fields) if section else []
        close = difflib.get_close_matches(str(detail["loc"][-1]), allowed, 1)
        hint = f"did you mean {close[0]}? " if close else ""
        return f"unknown key; {hint}allowed here: {', '.join(allowed)}"
    if detail["type"] == "missing":
        return "this key is required"
    message = detail["msg"].removeprefix("Value error, ")
    # As TOML calls them:
    message = message.replace("valid dictionary", "table").replace("valid tuple", "list").split(" or instance of")[0]
    if isinstance(detail["input"], dict) and _section(_at(detail["loc"])):
        return message  # a section that contradicts itself: to show all of it says nothing
    message = f"{message[0].lower()}{message[1:]}"
    return message if _holds_secret(detail["loc"]) else f"{message}, not {masked(repr(detail['input']))}"


def _at(loc: Iterable[int | str]) -> Any:
    """The annotation of a place in the settings, None where there is none."""
    annotation: Any = Settings
    for step in loc:
        annotation = _inside(annotation, str(step))
    return annotation


def _inside(annotation: Any, step: str) -> Any:
    """The annotation of what `step` names within a section, a mapping or a list."""
    section = _section(annotation)
    if section is not None:
        field = section.model_fields.get(step)
        return field.annotation if field else None
    if get_origin(annotation) is Annotated:
        return _inside(get_args(annotation)[0], step)
    kind, arguments = get_origin(annotation), get_args(annotation)
    return arguments[-1] if kind is Mapping else arguments[0] if kind is tuple else None


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section that an annotation stands for, alone, or beside None."""
    for candidate in (annotation, *(get_args(annotation) if get_origin(annotation) is UnionType else ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None

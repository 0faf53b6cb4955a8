"""What of a configuration may change while the hub runs, and how two of them differ. Pure.

Everything else is where things run and what is built round it: addresses, places, queues, the ledger, reference data
and the other services' own sections. To change that the service concerned is started anew.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from arbhub.settings.schema import Settings

LIVE_HUB = ("deadline_ms", "max_quote_age_ms", "min_net_edge_bps", "decision_ttl_ms")
Content = dict[str, Any]


def content(settings: Settings) -> Content:
    """The part that may change, as JSON values; infinity as itself. No secret is among it."""
    whole = settings.model_dump(mode="json", include={"hub", "engines", "risk"})
    hub = {name: value for name, value in whole["hub"].items() if name in LIVE_HUB}
    engines = {name: {k: v for k, v in e.items() if k != "place"} for name, e in whole["engines"].items()}
    return {"hub": hub, "engines": engines, "risk": whole["risk"]}


def with_content(running: Settings, live: Content) -> Settings:
    """The running settings with another live part; ValueError where it is none."""
    whole = running.model_dump()
    for section, values in live.items():
        if section not in ("hub", "engines", "risk") or not isinstance(values, dict):
            raise ValueError(f"{section} is no section that may change")
    whole["hub"] |= live["hub"]
    whole["risk"] = live["risk"]
    for name, values in live["engines"].items():
        whole["engines"][name] = {"place": whole["engines"].get(name, {}).get("place"), **values}
    try:
        return Settings.model_validate(whole)
    except ValidationError as error:
        raise ValueError("; ".join(_said(detail) for detail in error.errors())) from None


def _said(detail: ErrorDetails) -> str:
    """A complaint; what contradicts across sections names its keys itself."""
    text = detail["msg"].removeprefix("Value error, ")
    return f"{'.'.join(map(str, detail['loc']))}: {text}" if detail["loc"] else text


def digest(live: Content) -> str:
    """The same for the same content, and for no other."""
    keys = {key: repr(value) for key, value in _flat(live)}
    return hashlib.sha256(orjson.dumps(keys, option=orjson.OPT_SORT_KEYS)).hexdigest()


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The dotted keys whose values differ, or that only one of them has."""
    old, new = dict(_flat(before)), dict(_flat(after))
    return [key for key in dict.fromkeys((*old, *new)) if key not in old or key not in new or old[key] != new[key]]


def fixed(before: Settings, after: Settings) -> list[str]:
    """The keys that differ and cannot change while the hub runs."""
    live = {key for settings in (before, after) for key, _ in _flat(content(settings))}
    keys = changed(before.model_dump(), after.model_dump())  # as JSON two passwords would be the same stars
    return [key for key in keys if key not in live]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif not isinstance(value, Mapping):
            yield f"{prefix}{name}", value

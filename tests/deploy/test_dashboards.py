"""Grafana's files: what it is given it finds, and every panel asks for what a hub has."""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from full_hub import REPOSITORY, Samples, full_exposition, samples_of, unknown_in

GRAFANA = REPOSITORY / "deploy/grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards/arbhub.json").read_text())
QUESTIONS = ["Are we trading?", "Are we fast?", "Is anything failing?", "What did it earn?"]
COLUMNS = 24


def panels() -> list[dict[str, Any]]:
    """Those that show something."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Everything that is asked of Prometheus, by where; variables of Grafana have a value that fits."""
    asked = [(p["title"], target["expr"]) for p in panels() for target in p["targets"]]
    asked += [(a["name"], a["expr"]) for a in DASHBOARD["annotations"]["list"]]
    for variable in DASHBOARD["templating"]["list"]:
        query, _, _ = variable["query"]["query"].removeprefix("label_values(").rpartition(",")
        asked.append((variable["name"], query))
    for title, expression in asked:
        yield title, expression.replace("$__rate_interval", "1m").replace("$instance", ".*")


def yaml_of(path: str) -> Any:
    """A provisioning file."""
    return yaml.safe_load((GRAFANA / "provisioning" / path).read_text())


@pytest.fixture(scope="module")
async def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """What a hub tells."""
    return samples_of(await full_exposition(tmp_path_factory.mktemp("redis")))


async def test_every_panel_asks_for_what_there_is(samples: Samples) -> None:
    """Every sample in every expression, with the labels that it is picked by; nothing is left to a variable."""
    asked = list(expressions())
    assert {title: missing for title, text in asked if (missing := unknown_in(text, samples))} == {}
    assert not [text for _, text in asked if "$" in text]


def test_the_questions_are_answered_in_order() -> None:
    """A row a question, each with panels below it, none over another and none beyond the edge."""
    rows = [panel for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert [row["title"] for row in rows] == QUESTIONS
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert [place["y"] for place in places] == sorted(place["y"] for place in places)
    assert all(place["x"] + place["w"] <= COLUMNS for place in places)
    for a, b in itertools.combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)
    for this, following in itertools.pairwise([*(row["gridPos"]["y"] for row in rows), 10**6]):
        assert any(this < panel["gridPos"]["y"] < following for panel in panels())


def test_panels_can_be_told_apart_and_read() -> None:
    """Ids are unique, series are named, and what is labelled is shown by its label."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        letters = [target["refId"] for target in panel["targets"]]
        assert len(letters) == len(set(letters)), panel["title"]
        for target in panel["targets"]:
            grouped = re.search(r"\bby \((\w+)", target["expr"])
            if grouped and grouped[1] != "le":
                assert f"{{{{{grouped[1]}}}}}" in target["legendFormat"], panel["title"]


def test_grafana_finds_all_of_it() -> None:
    """Where Compose mounts it, and by the uid that every panel names."""
    (source,) = yaml_of("datasources/prometheus.yaml")["datasources"]
    assert (source["uid"], source["type"], source["url"]) == ("prometheus", "prometheus", "http://prometheus:9090")
    (provider,) = yaml_of("dashboards/arbhub.yaml")["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    asking = [*panels(), *DASHBOARD["templating"]["list"], *DASHBOARD["annotations"]["list"]]
    assert {(a["datasource"]["type"], a["datasource"]["uid"]) for a in asking} == {(source["type"], source["uid"])}

"""The alerts: Prometheus' own tests of them, what they ask for exists, and each says what to do."""

import re
from typing import Any

import pytest
import yaml
from full_hub import REPOSITORY, Samples, full_exposition, samples_of, unknown_in
from promtool import promtool

ALERTS = REPOSITORY / "deploy/prometheus/alerts.yaml"
TRIALS = REPOSITORY / "deploy/prometheus/alerts_test.yaml"
ISSUE = {  # what has to be there, whatever it is called besides
    "DecisionsOverDeadline", "TicksWithoutVerdicts", "StaleVenue", "BreakerOpen", "LedgerBehind", "ClockSkew",
    "MemoryHigh", "DrawdownNearLimit", "HubDown", "TradingHalted",
}  # fmt: skip


def rules() -> list[dict[str, Any]]:
    """Every alert."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def headings(page: str) -> set[str]:
    """The anchors of a Markdown page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.fixture(scope="module")
async def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """What a hub tells."""
    return samples_of(await full_exposition(tmp_path_factory.mktemp("redis")))


def test_prometheus_takes_the_rules() -> None:
    """Syntax, templates and durations."""
    code, said = promtool("check", "rules", str(ALERTS))
    assert code == 0, said


def test_every_alert_fires_when_it_should_and_not_otherwise() -> None:
    """By the trials beside the rules."""
    code, said = promtool("test", "rules", str(TRIALS))
    assert code == 0, said


def test_every_alert_has_its_trial() -> None:
    """Somewhere it is expected to fire."""
    asked = [trial for test in yaml.safe_load(TRIALS.read_text())["tests"] for trial in test["promql_expr_test"]]
    tried = {re.findall(r'alertname="(\w+)"', trial["expr"])[0] for trial in asked if trial.get("exp_samples")}
    assert tried == {rule["alert"] for rule in rules()}
    assert tried >= ISSUE


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
async def test_an_alert_asks_for_what_there_is(rule: dict[str, Any], samples: Samples) -> None:
    """Every sample in its expression, with the labels that it is picked by."""
    assert unknown_in(rule["expr"], samples) == []


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    """How bad it is, what it is, and the place that says what to do, which exists."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor == rule["alert"].lower()
    assert anchor in headings((REPOSITORY / page).read_text())


def test_what_no_hub_has_is_found() -> None:
    """A name and a label that are not there, and what is no PromQL."""
    samples: Samples = {"arbhub_ticks_total": set(), "arbhub_denied_decisions_total": {"*"}}
    assert unknown_in('rate(arbhub_ticks_total{instance="x"}[1m]) / on (job) arbhub_fish', samples) == ["arbhub_fish"]
    assert unknown_in('arbhub_ticks_total{engine="fee"}', samples) == ["arbhub_ticks_total{engine}"]
    assert unknown_in('arbhub_denied_decisions_total{reason="X"}', samples) == []
    with pytest.raises(ValueError, match="unclosed"):
        unknown_in("sum(", samples)

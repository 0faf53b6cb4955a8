"""The hub of a running compose project, as its page and the ledger in PostgreSQL show it."""

import json

from compose_project import Project, page
from prometheus_client.parser import text_string_to_metric_families

FILLS = "SELECT count(*) FROM fills"


class ComposeHub:
    """What the hub says over HTTP, and the ledger in PostgreSQL."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.token = project.run_in("hub", "cat", "/run/arbhub/token/token").strip()

    def page(self, path: str, token: str = "") -> tuple[int, str]:
        """A page of it."""
        return page(f"{self._project.url('hub', 7408)}{path}", token)

    def unready(self) -> list[str] | None:
        """Why nothing can be approved; nothing where it can, None where it does not answer."""
        status, text = self.page("/ready", self.token)
        return json.loads(text)["reasons"] if status in (200, 503) else None

    def metric(self, name: str, label: str) -> dict[str, float]:
        """A metric's values by a label."""
        status, text = self.page("/metrics", self.token)
        assert status == 200, text
        families = {family.name: family for family in text_string_to_metric_families(text)}
        return {sample.labels[label]: sample.value for sample in families[name].samples}

    def decisions(self) -> dict[str, float]:
        """How many there have been, by reason."""
        return self.metric("arbhub_decisions", "reason")

    def until_ready(self) -> None:
        """Wait until it says so."""
        self._project.until(lambda: self.unready() == [], "the hub ready", lambda: str(self.unready()))

    def rows(self, query: str) -> int:
        """A number from the ledger."""
        words = ("psql", "-U", "arbhub", "-d", "arbhub", "-h", "/var/run/postgresql", "-t", "-A", "-c", query)
        return int(self._project.run_in("postgres", *words))

    def until_more_fills(self) -> None:
        """Wait until more was traded than until now."""
        before = self.rows(FILLS)
        self._project.until(lambda: self.rows(FILLS) > before, "more fills", lambda: self._project.logs("hub"))

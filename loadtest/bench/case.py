"""What a case is: a row of the table, which knows how to measure itself, and how long that takes."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from loadtest.bench.results import Row
from loadtest.bench.site import Site

START_S = 3.0  # services starting and ending


@dataclass(frozen=True, kw_only=True)
class Case(ABC):
    """`key` names it on the command line, `title` in the table; `asked` is what it has to reach, in words."""

    key: str
    title: str
    asked: str = "reported"

    @property
    @abstractmethod
    def planned_s(self) -> float:
        """About how long measuring takes."""

    @abstractmethod
    def tiny(self) -> "Case":
        """The same in a second or two: it shows that everything works, and its figures mean nothing."""

    @abstractmethod
    async def measure(self, site: Site) -> Row:
        """Measure; ServiceError where something does not run."""

    def row(self, **found: Any) -> Row:
        """What was found, with this case's words and today's date."""
        return Row(case=self.title, date=today(), asked=self.asked, **found)


def today() -> str:
    """The date in UTC."""
    return datetime.now(UTC).date().isoformat()

"""What every engine with a say in a round has said of it, as the fold takes it; and the count of it, by engine."""

from collections.abc import Sequence

from arbhub.rows import Answer
from arbhub.settings.engines import EnginesSettings
from hub.policy import Ballot
from hub.reasons import ReasonTable
from hub.rounds import Round
from hub.seats import Seat
from hub.submissions import RowSubmission, Submission, rejected_in


class BallotBox:
    """The ballots of the engines at these seats, in the order of the table."""

    def __init__(self, engines: EnginesSettings, seats: Sequence[Seat], reasons: ReasonTable) -> None:
        table = engines.table()
        self._seats = seats
        self._timeout_codes = {name: reasons.timeout(name) for name in table}
        self._vetoes = {name: section.on_timeout == "veto" for name, section in table.items()}

    def of(self, round_: Round[Submission | RowSubmission]) -> list[Ballot[Answer | None]]:
        """A round's; of an engine that was silent, one without verdicts."""
        case, ballots = round_.payload.case, []
        for seat in self._seats:
            if seat.name not in round_.asked:
                continue
            name, codes = seat.name, seat.reason_codes
            answer = round_.answers.get(name)
            if answer is None or case is None:
                seat.tally.timeouts += round_.rows
                seat.tally.unasked += round_.rows if name in round_.spared else 0
            else:
                codes = case.reason_codes[name]
                seat.tally.rejected += rejected_in(answer)
            ballots.append(Ballot(name, answer, codes, self._timeout_codes[name], self._vetoes[name]))
        return ballots

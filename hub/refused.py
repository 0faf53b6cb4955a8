"""What an act of administration raises when it is not done: reasons for a person, and nothing has changed."""


class AdminRefused(Exception):  # noqa: N818  # an answer, and no fault of the hub's
    """Refused, and why: a sentence for each reason."""

    def __init__(self, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons

"""What an act of administration raises when it is not done: reasons for a person, and nothing has changed."""


class AdminRefused(Exception):  # noqa: N818  # an answer, and no fault of the hub's
    """Refused, and why: a sentence for each reason. `unusable`: what was asked for makes no sense."""

    def __init__(self, reasons: list[str], *, unusable: bool = False) -> None:
        super().__init__("; ".join(reasons))
        self.reasons, self.unusable = reasons, unusable

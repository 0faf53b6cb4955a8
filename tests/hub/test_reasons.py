"""The table of reason codes: a code never changes its meaning."""

from hub import reasons
from hub.reasons import OWN, ReasonTable


def test_the_hubs_own_codes_are_where_their_names_are() -> None:
    """The constants the fold writes are positions in the names that decisions are read by."""
    table = ReasonTable()
    for name in OWN[1:]:
        assert table.names[getattr(reasons, name)] == name
        assert table.code(name) == getattr(reasons, name)
    assert table.names[reasons.APPROVED] == ""


def test_codes_are_given_once() -> None:
    """Engines state their reasons again at each connection, more or fewer of them: codes stay."""
    table = ReasonTable()
    first = table.engine(("A", "B"))
    timeout = table.timeout("fee")
    again = table.engine(("B", "C", "A"))
    assert first.tolist()[0] == again.tolist()[0] == reasons.APPROVED
    assert (again[1], again[3]) == (first[2], first[1])
    assert [table.names[code] for code in (*again, timeout)] == ["", "B", "C", "A", "ENGINE_TIMEOUT:fee"]
    assert len(set(table.names)) == len(table.names)
    assert table.timeout("fee") == timeout


def test_engines_may_share_a_reason() -> None:
    """The same name is the same reason; an engine may state one of the hub's."""
    table = ReasonTable()
    assert table.engine(("X",))[1] == table.engine(("X",))[1]
    assert table.engine(("SHED",))[1] == reasons.SHED

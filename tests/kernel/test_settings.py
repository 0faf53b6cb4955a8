"""The settings loader: what may be said where, and that complaints name the place, the key and what is allowed."""

import math
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from arbhub.engine import EngineConfiguration
from arbhub.reference import FeeSchedule, FeeTier, Listing
from arbhub.settings.load import SettingsError, load
from arbhub.settings.schema import Settings
from arbhub.settings.secret import SecretUrl

EXAMPLE = """
[hub]
deadline_ms = 5
max_quote_age_ms = inf
[engines.fee.taker_bps]
EX1 = 10
"EX 2" = 12.5
[engines.spread]
place = "127.0.0.1:7402"
budget_ms = 4.0
[risk]
max_position = 2.5
[executor.balances.EX1]
BTC = 1.5
[reference.listings.EX1."BTC/BRL"]
lot_size = 0.001
[[reference.tiers.EX1]]
maker_bps = 8.0
taker_bps = 9.0
[[reference.tiers.EX1]]
min_volume = 1e6
maker_bps = 6.0
taker_bps = 7.0
"""


def file(tmp_path: Path, content: str) -> Path:
    """A configuration file with this content."""
    path = tmp_path / "arbhub.toml"
    path.write_text(content)
    return path


def complaint(path: Path | None = None, *assignments: str, **environ: str) -> str:
    """What the loader says is wrong."""
    with pytest.raises(SettingsError) as caught:
        load(path, assignments, environ)
    return str(caught.value)


def test_a_file_over_the_defaults(tmp_path: Path) -> None:
    """What the file says counts, whole numbers and inf included; the rest has its default."""
    settings = load(file(tmp_path, EXAMPLE), (), {})
    assert (settings.hub.deadline_ms, settings.hub.max_quote_age_ms, settings.hub.depth) == (5.0, math.inf, 20)
    assert settings.engines.fee.taker_bps == {"EX1": 10.0, "EX 2": 12.5}
    assert settings.engines.spread.place == "127.0.0.1:7402"
    assert (settings.risk.max_position, settings.risk.max_exposure) == (2.5, math.inf)
    assert settings.executor.balances == {"EX1": {"BTC": 1.5}}
    data = settings.reference.data()
    assert data.listings == (Listing("EX1", "BTC/BRL", lot_size=0.001),)
    assert data.schedules == (FeeSchedule("EX1", (FeeTier(0.0, 8.0, 9.0), FeeTier(1e6, 6.0, 7.0))),)


def test_defaults_alone() -> None:
    """Without a file every setting has its default."""
    assert load(None, (), {}) == Settings()


def test_variables_over_the_file_and_options_over_both(tmp_path: Path) -> None:
    """The later source wins, key by key, and of two options the later one."""
    path = file(tmp_path, EXAMPLE)
    environ = {"ARBHUB_HUB__DEADLINE_MS": "7", "ARBHUB_HUB__DEPTH": "3", "PATH": "/bin", "arbhub_x": "1"}
    settings = load(path, ["hub.depth=4", "hub.depth=5"], environ)
    assert (settings.hub.deadline_ms, settings.hub.depth, settings.hub.max_quote_age_ms) == (7.0, 5, math.inf)


@pytest.mark.parametrize(
    ("assignment", "names", "value"),
    [
        ("hub.deadline_ms=5", ("hub", "deadline_ms"), 5.0),
        ("hub.http_listen=", ("hub", "http_listen"), ""),
        (" hub.deadline_ms = 5 ", ("hub", "deadline_ms"), 5.0),
        ("risk.max_position=inf", ("risk", "max_position"), math.inf),
        ("risk.max_position=1_000.5", ("risk", "max_position"), 1000.5),
        ("risk.trading_state=halted", ("risk", "trading_state"), "halted"),
        ('risk.trading_state="halted"', ("risk", "trading_state"), "halted"),
        ("executor.ledger_url=sqlite:///a=b.db", ("executor", "ledger_url"), SecretUrl("sqlite:///a=b.db")),
        ("engines.fee.place=127.0.0.1:7402", ("engines", "fee", "place"), "127.0.0.1:7402"),
        ("engines.fee.taker_bps.EX1=10", ("engines", "fee", "taker_bps"), {"EX1": 10.0}),
        ("engines.fee.taker_bps={EX1=1,EX2=2}", ("engines", "fee", "taker_bps"), {"EX1": 1.0, "EX2": 2.0}),
        ('feed.symbols=["BTC/BRL"]', ("feed", "symbols"), ("BTC/BRL",)),
        ("executor.balances.EX1.BTC=1", ("executor", "balances"), {"EX1": {"BTC": 1.0}}),
    ],
)
def test_options(assignment: str, names: tuple[str, ...], value: object) -> None:
    """A value is TOML, and text where it is none."""
    found: object = load(None, [assignment], {})
    for name in names:
        found = getattr(found, name)
    assert found == value


def test_a_symbol_in_a_key_stands_in_quotes() -> None:
    """As in TOML itself: the slash of a symbol is no part of a bare key."""
    settings = load(None, ['reference.listings.EX1."BTC/BRL".lot_size=0.001'], {})
    assert settings.reference.data().listings == (Listing("EX1", "BTC/BRL", lot_size=0.001),)
    assert 'EX1."BTC/BRL".lot_size' in complaint(None, "reference.listings.EX1.BTC/BRL.lot_size=0.001")


@pytest.mark.parametrize(
    ("variable", "value", "names", "expected"),
    [
        ("ARBHUB_ENGINES__FEE__TAKER_BPS__EX1", "10", ("engines", "fee", "taker_bps"), {"EX1": 10.0}),
        ("ARBHUB_ENGINES__FEE__TAKER_BPS__Binance", "10", ("engines", "fee", "taker_bps"), {"Binance": 10.0}),
        ("ARBHUB_EXECUTOR__BALANCES__EX1__BTC", "2", ("executor", "balances"), {"EX1": {"BTC": 2.0}}),
        ("ARBHUB_FEED__RECORD__DIRECTORY", "/tmp/x", ("feed", "record", "directory"), Path("/tmp/x")),  # noqa: S108
        ("ARBHUB_RISK__MAX_POSITION", "inf", ("risk", "max_position"), math.inf),
        ("ARBHUB_EXECUTOR__LEDGER_URL", "sqlite://", ("executor", "ledger_url"), SecretUrl("sqlite://")),
    ],
)
def test_variables(variable: str, value: str, names: tuple[str, ...], expected: object) -> None:
    """Names of settings are upper case in a variable, names of venues and assets are as they are."""
    found: object = load(None, (), {variable: value})
    for name in names:
        found = getattr(found, name)
    assert found == expected


def test_a_variable_reaches_into_tables_of_sections() -> None:
    """Below a venue's name the settings of a venue are upper case again."""
    settings = load(
        None,
        ['feed.symbols=["BTC/BRL"]'],
        {"ARBHUB_FEED__VENUES__EX1__EXCHANGE": "binance", "ARBHUB_FEED__VENUES__EX1__REST_URL": "http://x"},
    )
    assert (settings.feed.venues["EX1"].exchange, settings.feed.venues["EX1"].rest_url) == (
        "binance",
        SecretUrl("http://x"),
    )


BAD = [
    # unknown keys
    ("hub.dedline_ms=5", "hub.dedline_ms: unknown key; did you mean deadline_ms? allowed here: "),
    ("hubb.depth=5", "hubb: unknown key; did you mean hub? allowed here: engines, executor, feed, hub, "),
    ("engines.spred.place=x:1", "engines.spred: unknown key; did you mean spread? allowed here: fee, liq"),
    ("reference.listings.EX1.A-B.lott=1", "EX1.A-B.lott: unknown key; allowed here: active, lot_size, maker_bps, "),
    ("reference.tiers.EX1=[{maker_bps=1.0,taker_bps=1.0,volume=3}]", "EX1.0.volume: unknown key; did you "),
    ("feed.record={directory='x',max_byte=1}", "feed.record.max_byte: unknown key; did you mean max_bytes?"),
    # wrong types and values
    ("hub.deadline_ms=fast", "hub.deadline_ms: input should be a valid number, not 'fast'"),
    ("hub.deadline_ms=true", "hub.deadline_ms: input should be a valid number, not True"),
    ('hub.deadline_ms="5"', "hub.deadline_ms: input should be a valid number, not '5'"),
    ("hub.deadline_ms=0", "hub.deadline_ms: input should be greater than 0, not 0"),
    ("hub.deadline_ms=inf", "hub.deadline_ms: input should be a finite number, not inf"),
    ("hub.depth=2.5", "hub.depth: input should be a valid integer"),
    ("hub.depth=1001", "hub.depth: input should be less than or equal to 1000, not 1001"),
    ("hub=5", "hub: input should be a table, not 5"),
    ("risk.trading_state=paused", "risk.trading_state: input should be 'active', 'reducing' or 'halted'"),
    ("hub.listen=localhost", 'hub.listen: should be "HOST:PORT", such as "127.0.0.1:7401", or "unix:/PATH" on one'),
    ("hub.listen=unix:here.sock", 'hub.listen: should have an absolute path of at most 107 bytes behind "unix:"'),
    ("hub.http_listen=localhost", 'hub.http_listen: should be "HOST:PORT", such as "127.0.0.1:7401", or "" for none'),
    (f"hub.listen=unix:/{'a' * 107}", "hub.listen: should have an absolute path of at most 107 bytes"),
    ("sandbox.listen=unix:/a.sock", 'sandbox.listen: should be "HOST:PORT"'),
    ("engines.fee.place=elsewhere", 'engines.fee.place: should be "in-process", "HOST:PORT"'),
    ("feed.symbols=BTC/BRL", "feed.symbols: input should be a list, not 'BTC/BRL'"),
    ('feed.symbols=["BTCBRL"]', "feed.symbols.0: symbol 'BTCBRL' is not of the form"),
    ("reference.tiers.EX1=[{maker_bps=1.0}]", "reference.tiers.EX1.0.taker_bps: this key is required"),
    ("executor.balances.EX1=5", "executor.balances.EX1: input should be a table, not 5"),
    # NaN is never a setting
    ("risk.max_position=nan", "risk.max_position: input should be greater than or equal to 0, not nan"),
    ("hub.min_net_edge_bps=nan", "hub.min_net_edge_bps: input should be a finite number, not nan"),
    ("engines.fee.taker_bps.EX1=nan", "engines.fee.taker_bps.EX1: input should be a finite number, not nan"),
    ("engines.liquidity.max_notional=nan", "engines.liquidity.max_notional: input should be greater than 0"),
    ("reference.listings.EX1.A-B.taker_bps=nan", "EX1.A-B.taker_bps: input should be a finite number"),
    # times that are added to others have to end
    ("hub.decision_ttl_ms=inf", "hub.decision_ttl_ms: input should be less than or equal to 86400000"),
    # contradictions
    (
        "engines.fee.on_timeout=abstain",
        'engines.fee.on_timeout: is "abstain", but a built-in engine that is silent must not let trades through: '
        'only "veto" is allowed',
    ),
    (
        "engines.fee.budget_ms=10.5",
        "engines.fee.budget_ms: is 10.5, but an engine's budget must be at most the round's deadline, "
        "hub.deadline_ms = 10",
    ),
    ("reference.listings.EX1.BTCBRL.lot_size=1", "reference.listings.EX1: symbol 'BTCBRL' is not of the form"),
    ("feed.source=replay", 'feed: source = "replay" needs captures: a list of at least one file'),
]


@pytest.mark.parametrize(("assignment", "expected"), BAD)
def test_a_bad_option(assignment: str, expected: str) -> None:
    """One line: the option, the key, what is wrong and what is allowed."""
    said = complaint(None, assignment)
    assert said.startswith(f"--set {assignment}: ")
    assert expected in said
    assert "\n" not in said


@pytest.mark.parametrize(("assignment", "expected"), [case for case in BAD if "." in case[0].split("=")[0]])
def test_the_same_in_a_file(tmp_path: Path, assignment: str, expected: str) -> None:
    """The same mistakes in a file name the file."""
    key, value = assignment.split("=", 1)
    value = value if re.match(r"[\d\[{'\"]|inf|nan|true", value) else f'"{value}"'
    path = file(tmp_path, f"{key} = {value}")
    said = complaint(path)
    assert said.startswith(f"{path}: ")
    assert expected in said


def test_every_mistake_is_named_with_its_own_place(tmp_path: Path) -> None:
    """Mistakes in the file, a variable and an option at once: a line each."""
    path = file(tmp_path, "[hub]\ndeadline_ms = -1\n[risk]\nmax_position = 1\n[engines.fee.taker_bps]\nEX1 = 1")
    said = complaint(path, "risk.max_position=x", ARBHUB_HUB__DEPTH="0").splitlines()
    assert [line.split(": ")[:2] for line in said] == [
        [str(path), "hub.deadline_ms"],
        ["ARBHUB_HUB__DEPTH", "hub.depth"],
        ["--set risk.max_position=x", "risk.max_position"],
    ]


def test_a_mistake_within_what_was_set(tmp_path: Path) -> None:
    """A key inside a table that an option has set whole is the option's mistake, not the file's."""
    path = file(tmp_path, "[executor]\nlatency_ms = 1.0")
    assert complaint(path, "executor.balances={EX1={BTC=-1}}").startswith("--set executor.balances=")
    assert complaint(path, "executor.balances={EX1={BTC=-1}}").count("executor.balances.EX1.BTC: ") == 1


def test_a_contradiction_between_sources_names_both_keys(tmp_path: Path) -> None:
    """The file's budget and the option's deadline contradict each other."""
    path = file(tmp_path, "[engines.fee]\nbudget_ms = 4.0")
    said = complaint(path, "hub.deadline_ms=3")
    assert said.startswith(f"{path}: engines.fee.budget_ms: is 4, ")
    assert "hub.deadline_ms = 3" in said


@pytest.mark.parametrize(
    "assignment", ["hub.depth", "=5", "hub..depth=5", "hub.=5", "", "[hub]=5", "hub.depth =a b= c"]
)
def test_an_option_that_is_none(assignment: str) -> None:
    """Not KEY=VALUE, or not a value for it: the option is repeated, with what it should be."""
    said = complaint(None, assignment)
    assert said.startswith(f"--set {assignment}: ")
    assert "should be" in said


def test_a_value_of_several_lines_is_text() -> None:
    """A second line is no second setting, and is not lost."""
    assert "not '5\\nwindow=2'" in complaint(None, "hub.depth=5\nwindow=2")


def test_a_key_below_a_value(tmp_path: Path) -> None:
    """A number has no keys."""
    said = complaint(file(tmp_path, "[hub]\ndepth = 5"), "hub.depth.deep=1")
    assert said == "--set hub.depth.deep=1: depth is a value, not a table"
    said = complaint(file(tmp_path, "hub = 5"), ARBHUB_HUB__DEPTH="1")
    assert said == "ARBHUB_HUB__DEPTH: hub is a value, not a table"


def test_a_variable_for_no_setting() -> None:
    """A misspelt variable is an unknown key, and named."""
    said = complaint(ARBHUB_HUB_DEPTH="5")
    assert said.startswith("ARBHUB_HUB_DEPTH: hub_depth: unknown key; ")
    assert complaint(ARBHUB_HUB__DEPHT="5").startswith("ARBHUB_HUB__DEPHT: hub.depht: unknown key; did you mean depth?")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """No file, a directory, no TOML, no text: a sentence each, with the path."""
    missing, broken, binary = (tmp_path / name for name in ("missing.toml", "broken.toml", "binary.toml"))
    broken.write_text("[hub\ndepth = 5")
    binary.write_bytes(b"\xff\xfe\x00")
    assert complaint(missing) == f"{missing}: cannot be read: No such file or directory"
    assert complaint(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"
    assert complaint(broken).startswith(f"{broken}: is not TOML: ")
    assert "line 1" in complaint(broken)
    assert complaint(binary).startswith(f"{binary}: is not TOML: ")


def test_settings_do_not_change() -> None:
    """They are values: whoever wants others loads anew."""
    with pytest.raises(ValidationError, match="frozen"):
        load(None, (), {}).hub.depth = 3  # type: ignore[misc]  # this is what must fail


def test_the_version_names_what_decisions_depend_on() -> None:
    """It changes with what a decision depends on, inf included, and with nothing else."""
    default = Settings().version()
    assert re.fullmatch(r"1-[0-9a-f]{8}", default)
    same = ["hub.listen=x:1", "hub.deadline_ms=99", "engines.fee.place=x:1", "engines.fee.budget_ms=1", "hub.window=2"]
    assert load(None, same, {}).version() == default
    changes = [
        "hub.depth=19",
        "hub.max_quote_age_ms=inf",
        "hub.min_net_edge_bps=1",
        "engines.spread.max_leg_skew_ms=0",
        "engines.fee.taker_bps.EX1=0",
        "risk.max_position=0",
        "executor.latency_ms=0",
        "reference.listings.EX1.'A/B'.lot_size=1",
    ]
    versions = {load(None, [change], {}).version() for change in changes}
    assert len(versions | {default}) == len(changes) + 1


def test_an_engines_configuration_travels_as_json() -> None:
    """What an engine process is told is what the hub has: limits that are off stay off."""
    settings = load(None, ["engines.fee.taker_bps.EX1=10", "risk.max_position=2"], {})
    told = EngineConfiguration(engines=settings.engines, risk=settings.risk)
    assert EngineConfiguration.model_validate_json(told.model_dump_json()) == told
    assert told.risk.max_exposure == math.inf

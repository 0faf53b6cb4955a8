"""No secret of a configuration is shown: not by settings, not by complaints about them, not by the standard streams."""

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbhub.security.redaction import HidingStream
from arbhub.settings.load import SettingsError, load
from arbhub.settings.schema import ExecutorSettings
from arbhub.settings.secret import SecretUrl, masked, redacted, secrets_in

PASSWORD = "correct-horse"  # noqa: S105  # of this test
URL = f"postgresql://me:{PASSWORD}@db.example:5432/ledger"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "postgresql://me:***@db.example:5432/ledger"),
        (f"redis://:{PASSWORD}@127.0.0.1:6379/0", "redis://:***@127.0.0.1:6379/0"),
        (f"https://{PASSWORD}@db.example/x", "https://***@db.example/x"),
        (f"postgresql://db.example/x?user=me&password={PASSWORD}", "postgresql://db.example/x?user=***&password=***"),
        (f"http://me:{PASSWORD}@[2001:db8::1]:80/x#{PASSWORD}", "http://me:***@[2001:db8::1]:80/x"),
        ("sqlite:////home/me@work/ledger.db", "sqlite:////home/me@work/ledger.db"),
        ("sqlite://", "sqlite://"),
        ("http://[::1]:80/EX1/api", "http://[::1]:80/EX1/api"),
        ("ledger.db", "ledger.db"),
    ],
)
def test_a_url_shows_itself_without_its_password(url: str, shown: str) -> None:
    """In every form in which an object is written down; `reveal` alone gives it whole."""
    secret = SecretUrl(url)
    assert (str(secret), repr(secret), f"{secret}") == (shown, repr(shown), shown)
    assert secret.reveal() == url
    assert PASSWORD not in f"{ExecutorSettings(ledger_url=secret)}"
    made = ExecutorSettings(ledger_url=secret)
    assert PASSWORD not in repr(made.model_dump())
    assert ExecutorSettings.model_validate(made.model_dump()) == made
    assert PASSWORD.encode() not in ExecutorSettings(ledger_url=secret).model_dump_json().encode()


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://me:pa/{PASSWORD}@db.example/ledger",
        f"postgresql://me:p@{PASSWORD}@db.example/ledger",
        f"postgresql://me:{PASSWORD}?@db.example/ledger",
        f"postgresql://me:#{PASSWORD}@db.example/ledger",
        f"postgresql://db.example:5432/ledger?password=a@{PASSWORD}",
    ],
)
def test_a_password_whose_end_is_not_certain_is_refused(text: str) -> None:
    """What a library took for the host would be shown by it; and nothing of such a text is shown here."""
    with pytest.raises(ValueError, match="write ") as refused:
        SecretUrl(text)
    assert PASSWORD not in str(refused.value)
    assert PASSWORD not in redacted(text)


@pytest.mark.parametrize(
    "text",
    [f"me:{PASSWORD}@db", f"host=db password={PASSWORD}", f"postgresql://me:{PASSWORD}", f"?!://me:{PASSWORD}@x"],
)
def test_what_is_no_url_shows_nothing_that_may_be_secret(text: str) -> None:
    """Rather too little is shown than too much."""
    assert PASSWORD not in redacted(text)


@given(st.text(st.characters(exclude_characters="/?#@:%", exclude_categories=["Cs", "Zs", "Cc"]), min_size=8))
def test_no_password_is_ever_shown(password: str) -> None:
    """Whatever it is made of, alone and within a sentence."""
    text = f"postgresql://user:{password}@host.example/name"
    assert redacted(text) == "postgresql://user:***@host.example/name"
    if not re.search(r"[\s'\"<>]", password):
        assert masked(f"it says '{text}', which is wrong") == (
            "it says 'postgresql://user:***@host.example/name', which is wrong"
        )


def test_secrets_of_a_configuration(tmp_path: Path) -> None:
    """Passwords as they are written and as they are meant, and an exchange's keys; other options are no secrets."""
    file = tmp_path / "arbhub.toml"
    file.write_text(
        'executor.ledger_url = "postgresql://me:100%25-mine@db/x?sslmode=require&sslpassword=second-one"\n'
        '[feed.venues.EX1]\nexchange = "binance"\nsymbols = ["BTC/USDT"]\n'
        'rest_url = "http://me:third-one@127.0.0.1/"\n'
        '[feed.venues.EX1.options]\nurls = ["ws://me:sixth-one@127.0.0.1"]\napiKey = "fourth-one"\n'
        'watchOrderBookLimit = 100\nnested = { secret = "fifth-one" }\na = "b"\n'
    )
    found = set(secrets_in(load(file, (), {})))
    assert found == {"100%25-mine", "100%-mine", "second-one", "third-one", "fourth-one", "fifth-one", "sixth-one"}


@pytest.mark.parametrize(
    "assignment",
    [
        f"executor.ledger_url=postgresql://me:p@{PASSWORD}@db/x",
        f'executor.ledger_url=["{URL}"]',
        f'executor.ledger_url.x="{URL}"',
        f"executor.ledger_urll={URL}",
        f"redis.url=redis://:two {PASSWORD}@127.0.0.1:6379",
        f"executor={URL}",
        f"hub.listen={URL}",
        f"executor.ledger_url {URL}",
        f"feed.venues.EX1.options.apiKey.x={PASSWORD}",
        f"feed.venues.EX1.apiKey={PASSWORD}",
        f'hub.token_file=["{PASSWORD}"]',
    ],
)
def test_complaints_show_no_secret(tmp_path: Path, assignment: str) -> None:
    """Neither as an option, nor in a file, nor in the environment; wherever the secret was put by mistake."""
    name, _, value = assignment.partition("=")
    file = tmp_path / "arbhub.toml"
    file.write_text(f"{name} = {value}" if value[:1] in '["' else f'{name} = "{value}"')
    variable = "ARBHUB_" + name.upper().replace(".", "__")
    sources: list[tuple[Path | None, list[str], dict[str, str]]] = [(None, [assignment], {})]
    if value:
        sources += [(file, [], {}), (None, [], {variable: value})]
    for source in sources:
        try:
            said = repr(load(*source))
        except SettingsError as error:
            said = str(error)
        assert PASSWORD not in said


def test_streams_leave_secrets_out() -> None:
    """As they are, and as JSON, Python and URLs write them; the rest is written as it is, and short words too."""
    out = io.StringIO()
    stream = HidingStream(out, ['quo"te\\and/more', "correct-horse-battery", "correct-horse", "hub"])
    stream.writelines(["the hub says ", "correct-horse-battery, correct-horse\n"])
    stream.write('{"a": "quo\\"te\\\\and/more"} quo"te\\and/more quo%22te%5Cand%2Fmore ' + repr('quo"te\\and/more'))
    assert out.getvalue() == "the hub says ***, ***\n" + '{"a": "***"} *** *** ' + "'***'"
    assert cast(io.StringIO, stream).getvalue() == out.getvalue()


PROGRAM = """
import logging, sys, structlog
from arbhub.security.redaction import hide
from arbhub.telemetry import configure_logs
hide(["correct-horse"])
configure_logs()
structlog.get_logger().error("lost", url="x://correct-horse@y")
logging.getLogger("asyncio").error("never retrieved: correct-horse")
print("said correct-horse")
raise OSError("correct-horse")
"""


def test_log_tracebacks_and_library_logs_leave_secrets_out() -> None:
    """What asyncio, gRPC and the interpreter itself write goes past our log, but not past the stream."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=60)
    assert "correct-horse" not in done.stdout + done.stderr
    assert done.stdout == "said ***\n"
    for line in ('"url":"x://***@y"', "never retrieved: ***", "OSError: ***"):
        assert line in done.stderr

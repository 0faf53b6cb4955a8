"""deploy/deploy.sh and handover.sh on an engine that does as it is told: the order of steps, refusals, undoing."""

import fcntl
from pathlib import Path

import pytest
import yaml
from told_engine import DEPLOY, ORDER, ToldEngine

A, B = dict.fromkeys(ORDER, "arbhub:a"), dict.fromkeys(ORDER, "arbhub:b")
ROLLING = ("--env", "compose", "--mode", "rolling", "--version", "b")
EXECUTOR = ("--only", "executor")  # the one that has a ledger; all seven take their time


def ports() -> dict[str, str]:
    """Where compose's own healthchecks ask the services that take turns."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return {
        name: service["healthcheck"]["test"][-1].rpartition(":")[2]
        for name, service in services.items()
        if "--turn" in service.get("command", [])
    }


@pytest.fixture
def engine(tmp_path: Path) -> ToldEngine:
    """Everything runs version a."""
    return ToldEngine(tmp_path, ports())


def test_four_services_take_turns() -> None:
    """Those that must not be there twice, and the feed, which would tell everything twice."""
    assert set(ports()) == {"hub", "executor", "engine-risk", "feed"}


def test_rolling_replaces_one_after_the_other(engine: ToldEngine) -> None:
    """Nothing is stopped before its successor is there, and nothing begun before the last one is done."""
    code, said = engine.deploy(*ROLLING)
    assert code == 0, said
    assert engine.runs() == B
    assert engine.containers() == len(ORDER)
    expected = ["try arbhub:b compose.toml"]
    for number, name in enumerate(ORDER, start=1):
        expected += [f"start {name}-{number} arbhub:b", f"stop {name}-0", f"rm {name}-0"]
    assert engine.done() == expected
    assert engine.history() == [["found", "a"], ["rolling", "b"]]
    assert said.splitlines()[-1].endswith("s  compose runs arbhub:b (rolling)")


def test_the_ledger_is_backed_up_before_the_executor_is_replaced(engine: ToldEngine) -> None:
    """Once, of the running project; where that fails the executor is left alone, and all is as it was."""
    assert engine.deploy(*ROLLING, *EXECUTOR)[0] == 0
    (call,) = engine.backups()
    assert call.startswith("backup --compose")
    code, said = engine.deploy(
        "--env", "compose", "--mode", "rolling", "--version", "a", "--only", "engine-risk", *EXECUTOR, BACKUP_CODE="1"
    )
    assert code == 1
    assert said.splitlines()[-1] == (
        "deploy.sh: the ledger cannot be backed up, so the executor was left alone and the version before serves"
    )
    assert engine.runs() == A | {"executor": "arbhub:b"}


def test_a_hotfix_replaces_what_it_names_without_a_backup(engine: ToldEngine) -> None:
    """In the order of all, however they are named."""
    code, said = engine.deploy(
        "--env", "compose", "--mode", "hotfix", "--version", "b", "--only", "hub", "--only", "engine-fee"
    )
    assert code == 0, said
    assert engine.runs() == A | {"hub": "arbhub:b", "engine-fee": "arbhub:b"}
    assert [line for line in engine.done() if line.startswith("stop")] == ["stop engine-fee-0", "stop hub-0"]
    assert engine.backups() == []


@pytest.mark.parametrize("service", ["engine-liquidity", "hub", "executor"])
@pytest.mark.parametrize("fault", ["fails", "deaf"])
def test_what_fails_is_undone(engine: ToldEngine, service: str, fault: str) -> None:
    """One that ends at once, or serves and is not well: what was replaced before it is put back, the others stay."""
    engine.image("arbhub:b", **{fault: [service]})
    code, said = engine.deploy(*ROLLING)
    assert code == 1, said
    assert engine.runs() == A
    assert engine.containers() == len(ORDER)
    assert f"the last words of {service}-" in said
    assert said.splitlines()[-1] == (
        f"deploy.sh: {service} could not be replaced by arbhub:b, and what served before serves: the reason is above"
    )
    stopped = {line.split()[1].rpartition("-")[0] for line in engine.done() if line.startswith("stop")}
    touched = ORDER[: ORDER.index(service)]
    has_turn = service in ports() and fault == "deaf"  # found out only once it serves
    assert stopped == {*touched, *([service] if has_turn else [])}
    assert engine.history() == [["found", "a"]]


def test_a_probe_that_fails_stops_nothing(engine: ToldEngine) -> None:
    """The successor of a service with turns must stand ready before the one that serves is stopped."""
    engine.image("arbhub:b", fails=["hub"])
    assert engine.run(DEPLOY / "handover.sh", "--image", "arbhub:b", "--timeout", "0", "hub")[0] == 1
    assert engine.done() == ["start hub-1 arbhub:b", "rm hub-1"]


def test_a_hub_that_was_not_ready_need_not_be(engine: ToldEngine) -> None:
    """A deployment may be what mends it; where it was ready, it must be so again."""
    engine.has(ready=False)
    assert engine.deploy(*ROLLING, "--only", "hub")[0] == 0
    assert engine.runs() == A | {"hub": "arbhub:b"}


def test_an_interrupted_one_leaves_what_serves(engine: ToldEngine) -> None:
    """The successor that was waited for goes, what was replaced before it stays replaced, and that is said."""
    engine.image("arbhub:b", deaf=["engine-fee"])
    code, said = engine.interrupted("start engine-fee-2 arbhub:b", *ROLLING)
    assert code == 130
    assert said.splitlines()[-1].endswith("interrupted: what serves goes on; arbhub:b serves as engine-spread")
    assert engine.runs() == A | {"engine-spread": "arbhub:b"}
    assert engine.containers() == len(ORDER)
    assert engine.history() == [["found", "a"]]


def test_what_an_interrupted_run_left_is_cleared_away(engine: ToldEngine) -> None:
    """A container that was stopped, and one that waits for a turn that never came."""
    box = {"service": "hub", "image": "arbhub:b", "environment": "compose"}
    serving = {name: {"service": name, "image": "arbhub:a", "state": "running", "waits": False} for name in ORDER}
    left = {"old": box | {"state": "exited", "waits": False}, "new": box | {"state": "running", "waits": True}}
    engine.has(containers=serving | left)
    code, said = engine.deploy("--env", "compose", "--mode", "hotfix", "--version", "b", "--only", "hub")
    assert code == 0, said
    assert engine.done()[1:] == ["rm old", "rm new", "start hub-1 arbhub:b", "stop hub", "rm hub"]


def test_previous_is_the_version_before(engine: ToldEngine) -> None:
    """There and back again; without a version before, or without its image, that is said."""
    assert engine.deploy(*ROLLING, "--only", "feed")[0] == 0
    back = ("--env", "compose", "--mode", "rolling", "--version", "previous", "--only", "feed")
    assert engine.deploy(*back)[0] == 0
    assert engine.runs() == A
    assert engine.deploy(*back)[0] == 0
    assert engine.runs() == A | {"feed": "arbhub:b"}
    assert engine.history() == [["found", "a"], ["rolling", "b"], ["rolling", "a"], ["rolling", "b"]]
    (engine.folder / "state/compose").write_text("2026-01-01T00:00:00Z rolling b\n")
    code, said = engine.deploy(*back)
    assert (code, said) == (
        2, f"deploy.sh: there is no version before the current one in {engine.folder}/state/compose\n"
    )  # fmt: skip  # a pair
    (engine.folder / "state/compose").write_text("2026-01-01T00:00:00Z rolling gone\n2026-01-01T00:00:01Z rolling b\n")
    assert engine.deploy(*back) == (
        2, "deploy.sh: the version before is gone, and its image is here no more: name the version\n"
    )  # fmt: skip  # a pair


def test_an_older_release_gets_the_ledger_that_it_knows(engine: ToldEngine) -> None:
    """The executor is stopped, the newer release takes the ledger down, and the older one starts."""
    engine.image("arbhub:b", head="0002")
    assert engine.deploy(*ROLLING, *EXECUTOR)[0] == 0
    assert engine.ledger() == "0002"
    before = len(engine.done())
    code, said = engine.deploy("--env", "compose", "--mode", "rolling", "--version", "previous", *EXECUTOR)
    assert code == 0, said
    assert engine.ledger() == "0001"
    assert engine.done()[before + 1 :] == [
        "stop executor-1", "migrate 0001 arbhub:b", "rm executor-1", "start executor-2 arbhub:a"
    ]  # fmt: skip  # one story


def test_a_ledger_that_cannot_be_taken_down_stays(engine: ToldEngine) -> None:
    """And so does the executor that knows it."""
    engine.image("arbhub:b", head="0002", migrates=False)
    assert engine.deploy(*ROLLING, *EXECUTOR)[0] == 0
    code, said = engine.deploy("--env", "compose", "--mode", "rolling", "--version", "a", *EXECUTOR)
    assert code == 1
    assert "the ledger stays at 0002: arbhub:b does not take it down to 0001" in said
    assert engine.runs() == A | {"executor": "arbhub:b"}
    assert engine.ledger() == "0002"


def test_a_failure_after_the_ledger_went_up_takes_it_down_again(engine: ToldEngine) -> None:
    """The hub comes after the executor: where it fails, the executor of before gets the ledger of before."""
    engine.image("arbhub:b", head="0002", fails=["hub"])
    code, said = engine.deploy(*ROLLING, *EXECUTOR, "--only", "hub")
    assert code == 1, said
    assert engine.runs() == A
    assert engine.ledger() == "0001"


def test_normal_starts_everything_at_once(engine: ToldEngine) -> None:
    """And goes back to the version before, ledger included, where it does not get well."""
    words = ("--env", "compose", "--mode", "normal", "--version", "b")
    assert engine.deploy(*words)[0] == 0
    assert engine.runs() == B
    engine.image("arbhub:c", head="0002", deaf=["feed"])
    code, said = engine.deploy(*words[:-1], "c")
    assert code == 1
    assert said.splitlines()[-1].startswith("deploy.sh: arbhub:c does not get well, so arbhub:b runs again")
    assert "feed (unhealthy)" in said
    assert engine.runs() == B
    assert engine.ledger() == "0001"
    assert engine.history() == [["found", "a"], ["normal", "b"]]


def test_normal_starts_where_nothing_ran(engine: ToldEngine) -> None:
    """The first time: there is nothing to back up, and nothing to go back to."""
    engine.has(containers={})
    words = ("--env", "compose", "--mode", "normal", "--version", "b")
    code, said = engine.deploy(*words)
    assert code == 0, said
    assert engine.runs() == B
    assert engine.backups() == []
    engine.has(containers={})
    engine.image("arbhub:b", deaf=["hub"])
    assert "nothing ran before to go back to" in engine.deploy(*words)[1]


def test_dev_runs_the_source(engine: ToldEngine) -> None:
    """In the foreground, with the development file over the other; not where it would be live."""
    assert engine.deploy("--env", "compose", "--mode", "dev", "--only", "hub")[0] == 0
    assert engine.done() == ["develop compose.development.yaml hub"]
    assert engine.deploy("--env", "staging", "--mode", "dev")[1] == (
        "deploy.sh: --mode dev is for compose and testing, not for staging\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--env", "moon"), "--env should be compose, testing, staging or production, not moon"),
        (("--mode", "slow"), "--mode should be normal, rolling, dev or hotfix, not slow"),
        (("--mode", "hotfix"), "--mode hotfix needs --only SERVICE: what is to be replaced"),
        (("--only", "redis"), f"--only should be one of {' '.join(ORDER)}, not redis"),
        (("--version", ""), "which version: --version V, or --version previous"),
        (("--version", "a/b"), "--version should be the tag of an image arbhub:V, or a tag or commit, in letters, "
                               "digits, _ . -, not a/b"),
        (("--version", "v0"), "there is neither an image arbhub:v0 nor a tag or commit v0 in this repository to build "
                              "it from"),
        (("--timeout", "soon"), "--timeout should be a whole number of seconds, not soon"),
        (("--what",), "there is no option --what; --help shows what there is"),
        (("--env",), "--env needs a value; --help shows what there is"),
    ],
)  # fmt: skip  # a case a line
def test_what_cannot_be_is_refused(engine: ToldEngine, words: tuple[str, ...], said: str) -> None:
    """With one sentence, exit code 2, and nothing done."""
    assert engine.run(DEPLOY / "deploy.sh", *ROLLING, *words) == (2, f"deploy.sh: {said}\n")
    assert engine.done() == []
    assert engine.runs() == A


def test_no_engine_is_said(engine: ToldEngine) -> None:
    """Without one, without compose, and without docker at all."""
    assert engine.deploy(*ROLLING, ENGINE="gone") == (
        2, "deploy.sh: no Docker engine answers: start it, or set DOCKER_HOST\n"
    )  # fmt: skip  # a pair
    assert "docker has no compose" in engine.deploy(*ROLLING, ENGINE="plain")[1]
    nowhere = engine.folder / "nowhere"
    nowhere.mkdir()
    for tool in ("bash", "dirname", "env"):
        (nowhere / tool).symlink_to(f"/usr/bin/{tool}")
    assert engine.deploy(*ROLLING, PATH=str(nowhere)) == (2, "deploy.sh: docker is not installed here\n")


def test_a_release_that_does_not_start_touches_nothing(engine: ToldEngine) -> None:
    """What it says itself, such as that live trading is not built, is the reason."""
    engine.image("arbhub:b", starts='arbhub: executor.trading_mode is "live", which is not built yet')
    code, said = engine.deploy("--env", "production", "--mode", "normal", "--version", "b", COMPOSE_PROJECT_NAME="live")
    assert code == 2
    assert "what runs here is compose, not production" in said
    engine.has(containers={})
    assert engine.deploy("--env", "production", "--mode", "normal", "--version", "b") == (
        2,
        "deploy.sh: arbhub:b does not start with configs/production.toml, so nothing was touched: "
        'arbhub: executor.trading_mode is "live", which is not built yet\n',
    )
    assert engine.done() == ["try arbhub:b production.toml"]
    assert engine.containers() == 0


def test_two_at_the_same_time_are_one_too_many(engine: ToldEngine) -> None:
    """The second one is refused, and does nothing."""
    (engine.folder / "state").mkdir()
    with (engine.folder / "state/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert engine.deploy(*ROLLING) == (2, "deploy.sh: another deployment is under way here: wait for it\n")
    assert engine.done() == []


def test_a_dry_run_does_nothing(engine: ToldEngine) -> None:
    """It says what it would do, after all checks."""
    code, said = engine.deploy(*ROLLING, "--dry-run")
    assert code == 0
    assert [line.partition("s  ")[2] for line in said.splitlines()[1:]] == [
        f"would replace {name}, which runs arbhub:a, by arbhub:b" for name in ORDER
    ]
    assert engine.runs() == A
    assert [line for line in engine.done() if not line.startswith("try")] == []
    assert engine.history() == [["found", "a"]]

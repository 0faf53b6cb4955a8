"""[redis]: what a url may be, and that no complaint and no print repeats one."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from arbhub.registry import Registry
from arbhub.service import ServiceError
from arbhub.settings.redis import RedisSettings
from arbhub.settings.schema import Settings

SECRET = "correcthorse"  # noqa: S105  # to be looked for


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://10.0.0.7", "redis://10.0.0.7:6379"),
        (f"redis://:{SECRET}@10.0.0.7:6380/3", "redis://10.0.0.7:6380/3"),
        (f"redis://me:{SECRET}@[::1]/0", "redis://[::1]:6379/0"),
        (f"rediss://:{SECRET}@redis.example:6380/0?ssl_ca_certs=/etc/ca.pem", "rediss://redis.example:6380/0"),
        (f"unix:///run/redis.sock?db=2&password={SECRET}", "unix:///run/redis.sock"),
    ],
)
def test_urls_that_are_taken(url: str, place: str) -> None:
    """redis-py can use each, and what is shown of it has no secret."""
    settings = RedisSettings(url=url)
    assert settings.place == place
    assert Registry(settings).place == place
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{SECRET}@10.0.0.7",
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}@10.0.0.7:port",
        f"redis://:{SECRET}@10.0.0.7/database",
        f"redis://:{SECRET}@10.0.0.7?socket_timeout=60",
        f"redis://10.0.0.7?password={SECRET}",
        f"unix:?password={SECRET}",
        f"unix:///run/redis.sock?db=x&password={SECRET}",
        SECRET,
    ],
)
def test_urls_that_are_not(url: str) -> None:
    """One sentence says what is allowed; what was there is not in it."""
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"redis": {"url": url}})
    (error,) = caught.value.errors()
    assert error["loc"] == ("redis",)
    assert 'url should be "redis://HOST:PORT/DATABASE"' in error["msg"]
    assert SECRET not in error["msg"]


@pytest.mark.parametrize("prefix", ["", "a*", "a b", "ü", "a\n", "x" * 65])
def test_prefixes_that_are_not(prefix: str) -> None:
    """A prefix is no pattern, and something."""
    with pytest.raises(ValidationError):
        RedisSettings(key_prefix=prefix)


def test_the_second_level_changes_no_decision_content() -> None:
    """Where reference data are kept is no part of what decisions depend on."""
    assert Settings(redis=RedisSettings(url="redis://10.0.0.7")).version() == Settings().version()


def test_a_password_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """Neither one that is not there nor one that others could read is taken for no password."""
    file = tmp_path / "password"
    with pytest.raises(ServiceError, match=r"^redis.password_file: .*password cannot be read"):
        Registry(RedisSettings(url="redis://10.0.0.7", password_file=file))
    file.write_text(SECRET)
    file.chmod(0o644)
    with pytest.raises(ServiceError, match=r"^redis.password_file: .*password has the mode 0644"):
        Registry(RedisSettings(url="redis://10.0.0.7", password_file=file))


@pytest.mark.parametrize("url", [f"redis://:{SECRET}@10.0.0.7", f"unix:///run/redis.sock?password={SECRET}"])
def test_two_passwords_are_one_too_many(url: str, tmp_path: Path) -> None:
    """Nobody has to guess which of them counts."""
    with pytest.raises(ValidationError, match="one of them is wanted"):
        RedisSettings(url=url, password_file=tmp_path / "password")

"""Settings: complete, known, and wrong ones named in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.common import keys
from services.common.config import ConfigError, ReplicaSettings, exit_on_config_error, load

GOOD = {
    "TODO_NAME": "rule-1",
    "TODO_DATABASE_URL": "mysql+pymysql://root:s3cret@db/rule",
    "TODO_SYNC_URL": "http://127.0.0.1:8251",
    "TODO_PUBLIC_KEYS_FILE": "/keys/jwks.json",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("TODO_")]:
        monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.usefixtures("environment")
def test_times_have_defaults() -> None:
    settings = load(ReplicaSettings)
    assert (settings.ack_timeout_ms, settings.ordered_timeout_ms, settings.token_timeout_ms) == (500, 5000, 1000)


@pytest.mark.usefixtures("environment")
def test_the_database_url_is_not_shown() -> None:
    assert "s3cret" not in repr(load(ReplicaSettings))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TODO_NAME", ""),
        ("TODO_NAME", "a b"),
        ("TODO_SYNC_URL", "127.0.0.1:1"),
        ("TODO_ACK_TIMEOUT_MS", "0"),
        ("TODO_ACK_TIMEOUT_MS", "soon"),
        ("TODO_LOG_FORMAT", "xml"),
        ("TODO_COLOUR", "red"),
        ("TODO_SIGNING_KEY_FILE", "/for/another/service"),
    ],
)
def test_a_wrong_or_unknown_setting_is_named(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(ConfigError, match=name) as error:
        load(ReplicaSettings)
    assert "\n" not in str(error.value)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_setting_is_named(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    with pytest.raises(ConfigError, match=name):
        load(ReplicaSettings)


def test_what_is_secret_can_stand_in_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.delenv("TODO_DATABASE_URL")
    environment.setenv("TODO_SECRETS_DIR", str(tmp_path))
    (tmp_path / "todo_database_url").write_text("mysql+pymysql://api:s3cret@db/rule\n")
    assert load(ReplicaSettings).database_url.get_secret_value() == "mysql+pymysql://api:s3cret@db/rule"
    (tmp_path / "todo_database_url").unlink()
    with pytest.raises(ConfigError, match="TODO_DATABASE_URL"):
        load(ReplicaSettings)


def test_a_directory_of_secrets_that_is_not_there_is_named(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("TODO_SECRETS_DIR", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match="TODO_SECRETS_DIR"):
        load(ReplicaSettings)


def test_a_command_with_bad_settings_says_so_in_a_line_and_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise ConfigError("TODO_NAME: what is wrong")

    with pytest.raises(SystemExit) as stopped:
        exit_on_config_error(main)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: TODO_NAME: what is wrong\n"


def test_keys_are_made_once_and_the_private_one_is_nobody_elses(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    signing, public = keys.generate(directory)
    assert (directory.stat().st_mode & 0o777, signing.stat().st_mode & 0o777) == (0o700, 0o600)
    before = signing.read_bytes()
    assert keys.generate(directory) == (signing, public)
    assert signing.read_bytes() == before
    assert "d" not in keys.load_jwks(public)[0]
    assert keys.key_id(keys.load_signing_key(signing), keys.load_jwks(public))


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"keys": []}', '{"keys": [{"crv": "Ed25519"}]}', '{"keys": 1}'])
def test_a_file_that_is_no_key_set_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "jwks.json"
    with pytest.raises(ConfigError):
        keys.load_jwks(path)
    path.write_text(content)
    with pytest.raises(ConfigError):
        keys.load_jwks(path)


def test_a_file_that_is_no_signing_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.pem"
    with pytest.raises(ConfigError):
        keys.load_signing_key(path)
    path.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(ConfigError):
        keys.load_signing_key(path)


def test_a_signing_key_that_nobody_can_verify_is_refused(tmp_path: Path) -> None:
    signing, _ = keys.generate(tmp_path / "one")
    _, public = keys.generate(tmp_path / "two")
    with pytest.raises(ConfigError):
        keys.key_id(keys.load_signing_key(signing), keys.load_jwks(public))

"""Settings: read from the environment, all faults in one error, secrets nowhere to be seen."""

import logging

import pytest
from pydantic import ValidationError

from shared.settings import Settings, SettingsInvalid, load_settings

SECRET = "an-utterly-secret-text-of-more-than-32-characters"


@pytest.fixture(autouse=True)
def _only_these(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDIT_STUDIO_SECRET", "WAVESPEED_API_KEY", "WAVESPEED_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_variables_are_read_by_name_and_the_rest_are_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDIT_STUDIO_SECRET", SECRET)
    monkeypatch.setenv("EDIT_STUDIO_PORT", "9000")
    monkeypatch.setenv("EDIT_STUDIO_ALLOW_PRIVATE_URLS", "1")
    monkeypatch.setenv("EDIT_STUDIO_CORS_ORIGINS", '["https://a.example", "https://b.example"]')
    monkeypatch.setenv("EDIT_STUDIO_LANE_LIMITS", '{"acme": 3}')
    monkeypatch.setenv("EDIT_STUDIO_LANE_RATES", '{"acme": 10, "other": 0}')
    monkeypatch.setenv("EDIT_STUDIO_WEBHOOK_SCHEDULE_S", "[0, 1.5]")
    settings = load_settings()
    assert (settings.port, settings.allow_private_urls, settings.lease_s) == (9000, True, 15.0)
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.lane_limits == {"acme": 3}
    assert settings.lane_rates == {"acme": 10, "other": 0}
    assert settings.webhook_schedule_s == (0.0, 1.5)
    assert settings.secret.get_secret_value() == SECRET


def test_arguments_override_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDIT_STUDIO_SECRET", SECRET)
    monkeypatch.setenv("EDIT_STUDIO_PORT", "9000")
    assert load_settings(port=9001).port == 9001


def test_all_bad_variables_are_named_in_one_error_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {
        "EDIT_STUDIO_SECRET": "too-short-secret",
        "EDIT_STUDIO_PORT": "port-value",
        "EDIT_STUDIO_LEASE_S": "-1",
        "EDIT_STUDIO_LOG_LEVEL": "LOUD-VALUE",
        "EDIT_STUDIO_CORS_ORIGINS": "not-json-value",
        "EDIT_STUDIO_LANE_LIMITS": '{"acme": "many-value"}',
        "EDIT_STUDIO_URL_PORTS": "[99999]",
    }
    for name, value in bad.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid) as raised:
        load_settings()
    message = str(raised.value)
    assert [line.split(":")[0].strip() for line in message.splitlines()[1:]] == sorted(bad, key=_order().index)
    assert not [value for value in bad.values() if value in message or "value" in message.replace("valid", "")]
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


def _order() -> list[str]:
    """The variables as the class declares them."""
    return [f"EDIT_STUDIO_{name.upper()}" for name in Settings.model_fields]


def test_the_secret_is_asked_for_by_its_variable() -> None:
    with pytest.raises(SettingsInvalid, match="EDIT_STUDIO_SECRET"):
        load_settings()


@pytest.mark.parametrize("name", ["S3_ENDPOINT_URL", "S3_ACCESS_KEY", "PUBLIC_URL", "CATALOG_DIR", "PORT", "CORS_ORIGINS"])
def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Container files set variables to nothing; the descriptions promise what that means."""
    monkeypatch.setenv("EDIT_STUDIO_SECRET", SECRET)
    monkeypatch.setenv(f"EDIT_STUDIO_{name}", "")
    assert getattr(load_settings(), name.lower()) == Settings.model_fields[name.lower()].default


def test_no_secret_shows(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    hidden = {
        "EDIT_STUDIO_SECRET": SECRET,
        "EDIT_STUDIO_REDIS_URL": "redis://user:redis-password@host/0",
        "EDIT_STUDIO_S3_ACCESS_KEY": "the-access-key",
        "EDIT_STUDIO_S3_SECRET_KEY": "the-secret-key",
        "WAVESPEED_API_KEY": "the-provider-key",
    }
    for name, value in hidden.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    logging.getLogger("test").warning("%r %s", settings, settings)
    shown = f"{settings!r} {settings} {settings.model_dump_json()} {caplog.text} {settings.provider_access('wavespeed')!r}"
    assert not [value for value in hidden.values() if value in shown]


def test_a_provider_has_what_its_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDIT_STUDIO_SECRET", SECRET)
    monkeypatch.setenv("WAVESPEED_API_KEY", "the-provider-key")
    monkeypatch.setenv("WAVESPEED_BASE_URL", "http://127.0.0.1:1")
    access = load_settings().provider_access("wavespeed")
    assert access.api_key is not None
    assert access.api_key.get_secret_value() == "the-provider-key"
    assert access.base_url == "http://127.0.0.1:1"


def test_a_provider_without_variables_is_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDIT_STUDIO_SECRET", SECRET)
    monkeypatch.setenv("WAVESPEED_API_KEY", "")
    access = load_settings().provider_access("wavespeed")
    assert (access.api_key, access.base_url) == (None, None)


def test_settings_are_frozen_and_take_no_unknown_name() -> None:
    settings = Settings(secret=SECRET)
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Settings(secret=SECRET, prot=1)  # type: ignore[call-arg]


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []

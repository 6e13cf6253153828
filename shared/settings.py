"""Every setting with its default and unit. The only reader of the environment.

Variables are `EDIT_STUDIO_` and the field's name in capitals; providers read `<NAME>_API_KEY` and `<NAME>_BASE_URL`,
where NAME is the catalogue file's name in capitals.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.redis_address import SCHEMES, read_sentinel_address

_MIB = 1024 * 1024


class SettingsInvalid(Exception):
    """Some variables are missing or wrong; the message names each of them."""


@dataclass(frozen=True, slots=True)
class ProviderAccess:
    """How to reach one provider. `api_key`: None when not configured; `base_url`: None for the provider's own."""

    api_key: SecretStr | None
    base_url: str | None


class Settings(BaseSettings):
    """Read once in each `__main__` (`load_settings`) and passed down; tests build it directly."""

    # Container files set variables to nothing. Lists are decoded below: pydantic-settings' own decoding stops at the first
    # one that is not JSON, and names no other variable.
    model_config = SettingsConfigDict(
        env_prefix="EDIT_STUDIO_",
        env_ignore_empty=True,
        enable_decoding=False,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    secret: SecretStr = Field(min_length=32, description="master secret, at least 32 characters; webhook secrets derive from it")
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="redis://, rediss:// or unix:// address; redis+sentinel://:password@host:port,host:port/service-name",
    )
    redis_timeout_s: float = Field(3.0, gt=0, description="longest wait for one Redis answer, seconds")
    allow_volatile_redis: bool = Field(False, description="start although Redis does not persist or evicts: jobs may be lost")
    s3_endpoint_url: str | None = Field(None, description="S3 endpoint; empty for AWS")
    s3_public_url: str | None = Field(None, description="the endpoint as callers and providers reach it, if it differs")
    s3_access_key: SecretStr | None = Field(None, description="access key; empty: boto3's own search order")
    s3_secret_key: SecretStr | None = Field(None, description="secret key")
    s3_bucket: str = Field("edit-studio", min_length=3, description="bucket for inputs and results")
    s3_region: str = Field("us-east-1", description="region that requests are signed for")
    storage_timeout_s: float = Field(30.0, gt=0, description="longest wait for one S3 answer, seconds")
    link_life_s: int = Field(3_600, ge=60, le=604_800, description="how long presigned links to results hold, seconds")
    host: str = Field("127.0.0.1", description="address the gateway listens on")
    port: int = Field(8080, ge=0, le=65_535, description="port the gateway listens on; 0 takes a free one")
    public_url: str | None = Field(None, description="the gateway as callers reach it, for links in webhooks")
    cors_origins: tuple[str, ...] = Field((), description="origins that browsers may call from, as a JSON list")
    allow_private_urls: bool = Field(False, description="fetch from and send webhooks to private and loopback addresses")
    url_ports: tuple[Annotated[int, Field(ge=1, le=65_535)], ...] = Field(
        (80, 443, *range(8000, 9000)), description="ports allowed in callers' URLs, as a JSON list"
    )
    body_max_bytes: int = Field(32 * _MIB, ge=1, description="largest request body")
    image_max_bytes: int = Field(20 * _MIB, ge=1, description="largest picture")
    image_max_pixels: int = Field(50_000_000, ge=1, description="largest picture, pixels")
    image_max_side: int = Field(16_384, ge=1, description="longest side of a picture, pixels")
    download_max_bytes: int = Field(64 * _MIB, ge=1, description="largest result taken from a provider")
    operator_tenant: str = Field("default", description="its keys with the scope admin administer all tenants and keys")
    submits_per_minute: int = Field(600, ge=1, description="submits per key and minute")
    reads_per_minute: int = Field(6_000, ge=1, description="other requests per key and minute")
    queue_quota: int = Field(10_000, ge=1, description="unfinished edits per tenant")
    batch_quota: int = Field(500_000, ge=1, description="unfinished batch items per tenant")
    queue_slo_s: float = Field(30.0, gt=0, description="edits should begin within so many seconds; 503 after 10 times that")
    running_cap: int = Field(1_000, ge=1, description="running edits per tenant")
    deadline_s: int = Field(3_600, ge=1, description="default deadline of an edit, seconds after acceptance")
    retention_s: int = Field(7 * 86_400, ge=60, description="how long a finished edit is kept, seconds")
    input_retention_days: int = Field(
        7, ge=0, description="days after which workers remove the inputs of forgotten edits; 0: the bucket's own rules do"
    )
    output_retention_days: int = Field(30, ge=0, description="the same for results")
    worker_slots: int = Field(32, ge=1, description="edits at once in one worker process")
    pool_processes: int = Field(max(1, os.cpu_count() or 1), ge=1, description="processes for pixel work in one worker")
    lease_s: float = Field(15.0, gt=0, description="how long a worker may be silent before its edits are taken over")
    drain_s: float = Field(150.0, ge=0, description="how long a stopping worker finishes calls it cannot resume")
    leave_s: float = Field(
        0.0, ge=0, description="how long a stopping gateway still answers, `/readyz` with 503, so that load balancers turn away"
    )
    lane_limits: dict[str, int] = Field({}, description='calls at once per provider account, as JSON: {"acme": 3}')
    lane_rates: dict[str, Annotated[int, Field(ge=0)]] = Field(
        {}, description='calls per minute and provider account, as JSON: {"acme": 10}; 0: as many as there are'
    )
    webhook_schedule_s: tuple[float, ...] = Field(
        (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400),
        description="wait before each delivery attempt",
    )
    webhook_timeout_s: float = Field(15.0, gt=0, le=45, description="longest wait for a webhook receiver, seconds")
    catalog_dir: Path | None = Field(None, description="folder with catalogue files that add to or override the shipped models")
    simulated: bool = Field(False, description="results come from the simulator and say so")
    traces_url: str | None = Field(
        None, pattern="^https?://", description="where traces go by OTLP: http://host:4318/v1/traces; needs the extra otel"
    )
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR")
    parent_pid: int = Field(0, ge=0, description="end when this process is gone; 0: never")
    fault: str = Field("", description="tests only: the named point at which the process kills itself")
    provider_env: Mapping[str, SecretStr] = Field({}, description="providers' own variables; filled by load_settings")

    @field_validator("cors_origins", "url_ports", "lane_limits", "lane_rates", "webhook_schedule_s", mode="before")
    @classmethod
    def _decoded(cls, value: Any) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError:
            raise ValueError("has to be JSON") from None

    @field_validator("redis_url")
    @classmethod
    def _led_to(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url.partition("://")[0] not in SCHEMES:
            raise ValueError(f"has to begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
        read_sentinel_address(url)
        return value

    def provider_access(self, provider: str) -> ProviderAccess:
        """Key and address of a provider by its catalogue name."""
        prefix = provider.upper()
        base_url = self.provider_env.get(f"{prefix}_BASE_URL")
        return ProviderAccess(
            api_key=self.provider_env.get(f"{prefix}_API_KEY"),
            base_url=base_url.get_secret_value() if base_url else None,
        )


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process. Raises SettingsInvalid with every bad variable in one message, values left out."""
    provider_env = {
        name: SecretStr(value)
        for name, value in os.environ.items()
        if value and name.endswith(("_API_KEY", "_BASE_URL")) and not name.startswith("EDIT_STUDIO_")
    }
    try:
        return Settings(**{"provider_env": provider_env, **overrides})
    except ValidationError as error:
        lines = []
        for fault in error.errors(include_input=False, include_context=False, include_url=False):
            name, *inside = (str(part) for part in fault["loc"])
            lines.append(f"  EDIT_STUDIO_{name.upper()}: {' '.join((*inside, fault['msg']))}")
        raise SettingsInvalid("these settings are missing or wrong:\n" + "\n".join(lines)) from None

"""The only reader of the environment.

Every setting is a field here, is described in the table of README.md (a test compares the two), and is read from the
variable that its alias names. Secrets are ``SecretStr``: printing settings never shows one.
"""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from cleanplate import access, buckets
from cleanplate.access import Access

Hosts = Annotated[tuple[str, ...], NoDecode]
Places = Annotated[tuple[str, ...], NoDecode]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode]
BEGINNINGS: Final = {
    "database_url": ("postgresql://", "postgresql+psycopg://", "postgres://"),
    "redis_url": ("redis://", "rediss://"),
    "storage_url": ("s3://", "file:///"),
}


class SettingsError(Exception):
    """The environment cannot be used as it is; the text says why and shows no value."""


class Settings(BaseSettings):
    """All that can be set from outside, with units in the names or descriptions."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    # The upstream
    bfl_api_key: SecretStr | None = Field(None, alias="BFL_API_KEY", description="Key of the upstream account.")
    bfl_api_keys: Secrets = Field(
        (),
        alias="BFL_API_KEYS",
        description="Keys of several accounts, in its place: `NAME=KEY;slots=24;region=eu,NAME=KEY`.",
    )
    bfl_base_url: str = Field(
        access.REGIONS["global"],
        alias="BFL_BASE_URL",
        description="Where submits go, unless an account says otherwise.",
    )
    bfl_max_in_flight: int = Field(
        24,
        ge=1,
        le=access.SLOTS_MOST,
        alias="BFL_MAX_IN_FLIGHT",
        description="Tasks an account may hold at once, unless it says otherwise.",
    )
    bfl_hosts: Hosts = Field(
        (".bfl.ai",),
        alias="BFL_HOSTS",
        description="Hosts a key may go to, by https; `.x` takes subdomains of x in, `http://x` allows plain http.",
    )
    bfl_delivery_hosts: Hosts = Field(
        (".bfl.ai", ".blob.core.windows.net"),
        alias="BFL_DELIVERY_HOSTS",
        description="Hosts results may be downloaded from.",
    )

    # The parts
    database_url: str = Field(
        "postgresql://cleanplate@127.0.0.1:5432/cleanplate", alias="DATABASE_URL", description="PostgreSQL."
    )
    redis_url: str = Field("redis://127.0.0.1:6379/0", alias="REDIS_URL", description="Celery's broker.")
    storage_url: str = Field(
        "file:///var/lib/cleanplate/objects",
        alias="STORAGE_URL",
        description="Object store: `s3://bucket/prefix` or `file:///dir`.",
    )
    storage_public_url: str | None = Field(
        None,
        alias="CLEANPLATE_STORAGE_PUBLIC_URL",
        description="Where clients reach an S3 store that this API knows by another address; presigned URLs name it.",
    )
    public_url: str | None = Field(
        None,
        alias="PUBLIC_URL",
        description="Where the upstream can reach this API, by https; set, each task's end is told by callback.",
    )

    # The intake
    secret_keys: Secrets = Field(
        (),
        alias="CLEANPLATE_SECRET_KEYS",
        description="Fernet keys that encrypt webhook secrets; the first encrypts, all decrypt.",
    )
    allow_private_networks: Networks = Field(
        (),
        alias="CLEANPLATE_ALLOW_PRIVATE_NETWORKS",
        description="Networks (CIDR) that addresses given by users may reach although they are not public.",
    )
    import_buckets: Places = Field(
        (),
        alias="CLEANPLATE_IMPORT_BUCKETS",
        description="Places on S3, `bucket` or `bucket/folder`, from which every tenant may let items be read.",
    )
    max_file_bytes: int = Field(
        64 << 20, ge=1, alias="CLEANPLATE_MAX_FILE_BYTES", description="Largest image or mask, in bytes."
    )
    max_pixels: int = Field(100_000_000, ge=1, alias="CLEANPLATE_MAX_PIXELS", description="Largest picture, in pixels.")
    max_request_bytes: int = Field(
        4 << 30, ge=1, alias="CLEANPLATE_MAX_REQUEST_BYTES", description="Largest request body, in bytes."
    )
    body_timeout_seconds: float = Field(
        30.0,
        gt=0,
        alias="CLEANPLATE_BODY_TIMEOUT_SECONDS",
        description="How long the head of a request may take, and a client send nothing of a body it has begun; and it "
        "may not trickle for longer.",
    )
    max_request_files: int = Field(
        20_000, ge=2, alias="CLEANPLATE_MAX_REQUEST_FILES", description="Most files in one request."
    )
    rate_limit: int = Field(
        12_000,
        ge=0,
        alias="CLEANPLATE_RATE_LIMIT",
        description="Requests that a team may make in a minute; 0: as many as it likes.",
    )
    max_archive_entries: int = Field(
        50_000, ge=1, alias="CLEANPLATE_MAX_ARCHIVE_ENTRIES", description="Most entries of an archive."
    )
    max_archive_bytes: int = Field(
        16 << 30, ge=1, alias="CLEANPLATE_MAX_ARCHIVE_BYTES", description="Most bytes of an archive's files, unpacked."
    )
    max_archive_ratio: float = Field(
        100.0,
        ge=1,
        alias="CLEANPLATE_MAX_ARCHIVE_RATIO",
        description="Most times its own bytes that an archive's files may have, unpacked.",
    )
    cost_credits: float = Field(
        5.0, ge=0, alias="CLEANPLATE_COST_CREDITS", description="Credits a picture is expected to cost, for quotes."
    )

    # The conveyor and what follows it
    unconfirmed_policy: Literal["resubmit", "fail"] = Field(
        "resubmit",
        alias="CLEANPLATE_UNCONFIRMED",
        description="What becomes of a submit whose answer was lost: `resubmit` may pay twice, `fail` never does.",
    )
    unconfirmed_hold_seconds: float = Field(
        30.0,
        ge=0,
        alias="CLEANPLATE_UNCONFIRMED_HOLD_SECONDS",
        description="How long such a submit keeps its slot before the policy decides.",
    )
    max_submits: int = Field(
        3, ge=1, alias="CLEANPLATE_MAX_SUBMITS", description="Most submits a job may make before it fails."
    )
    upstream_timeout_seconds: float = Field(
        540.0,
        gt=0,
        alias="CLEANPLATE_UPSTREAM_TIMEOUT_SECONDS",
        description="How long a task may stay pending before the job fails with `upstream_timeout`.",
    )
    retention_days: float | None = Field(
        None,
        gt=0,
        alias="CLEANPLATE_RETENTION_DAYS",
        description="Days after its end for which a job's pictures, inputs and result, are kept; for ever if not set.",
    )
    import_processes: int = Field(
        2, ge=1, alias="CLEANPLATE_IMPORT_PROCESSES", description="Processes of an importer started by `up`."
    )
    finalize_processes: int = Field(
        2, ge=1, alias="CLEANPLATE_FINALIZE_PROCESSES", description="Processes of a finalizer started by `up`."
    )
    log_level: str = Field("INFO", alias="CLEANPLATE_LOG_LEVEL", description="Level of the logs.")

    # One machine
    data_dir: Path = Field(
        Path(".cleanplate"), alias="CLEANPLATE_DATA_DIR", description="Where `cleanplate up` keeps everything."
    )

    # The command line as a client
    url: str = Field("http://127.0.0.1:8000", alias="CLEANPLATE_URL", description="The API the CLI talks to.")
    api_key: SecretStr | None = Field(None, alias="CLEANPLATE_API_KEY", description="The CLI's key.")

    @field_validator(
        "bfl_api_keys",
        "bfl_hosts",
        "bfl_delivery_hosts",
        "allow_private_networks",
        "secret_keys",
        "import_buckets",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("database_url", "redis_url", "storage_url")
    @classmethod
    def _is_an_address_of_its_kind(cls, value: str, info: ValidationInfo) -> str:
        beginnings = BEGINNINGS[str(info.field_name)]
        if not value.startswith(beginnings):
            raise ValueError(f"does not begin with {' or '.join(beginnings)}")
        return value

    @model_validator(mode="after")
    def _accounts_are_clear(self) -> Self:
        if self.bfl_api_key is not None and self.bfl_api_keys:
            raise ValueError(
                "BFL_API_KEY and BFL_API_KEYS are both set; put the one key into the list, as default=KEY, and unset it"
            )
        _ = self.upstream_accounts
        return self

    @model_validator(mode="after")
    def _the_store_is_not_imported_from(self) -> Self:
        if any(buckets.overlaps(place, self.storage_url) for place in self.import_buckets):
            raise ValueError("CLEANPLATE_IMPORT_BUCKETS names a place where STORAGE_URL keeps what all tenants sent")
        return self

    @property
    def upstream_accounts(self) -> tuple[Access, ...]:
        """The accounts that are submitted to: one named ``default`` unless ``BFL_API_KEYS`` names others."""
        if self.bfl_api_keys:
            return access.parse(self.bfl_api_keys, self.bfl_base_url, self.bfl_max_in_flight)
        key = self.bfl_api_key or SecretStr("")
        return (Access(access.DEFAULT, key, self.bfl_base_url, self.bfl_max_in_flight),)

    @property
    def slots(self) -> int:
        """How many tasks all accounts together may hold at once."""
        return sum(account.slots for account in self.upstream_accounts)

    @property
    def keyless(self) -> bool:
        """Whether there is no key of any account, so that ``cleanplate up`` takes the simulator."""
        return self.bfl_api_key is None and not self.bfl_api_keys

    @property
    def links_url(self) -> str:
        """The address that links in webhooks start with: the public one, or else where the CLI finds this API."""
        return self.public_url or self.url


@lru_cache(maxsize=1)
def get() -> Settings:
    """Return this process's settings, read once. Raises :class:`SettingsError`."""
    try:
        return Settings()
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        told = (": ".join([*map(str, fault["loc"]), fault["msg"].removeprefix("Value error, ")]) for fault in faults)
        raise SettingsError("; ".join(told)) from None

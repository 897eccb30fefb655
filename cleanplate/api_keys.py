"""API keys as the REST contract shows them, and what each may do."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from cleanplate.moments import Moment
from cleanplate.shapes import Answer


class Scope(StrEnum):
    """What a key may do. Each may also do what those before it may."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def allows(self, wanted: "Scope") -> bool:
        """Tell whether a key of this scope may do what asks for ``wanted``."""
        order = list(Scope)
        return order.index(self) >= order.index(wanted)


class NewApiKey(BaseModel):
    """A key to be."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "warehouse", "scope": "write"}})

    name: str = Field(min_length=1, max_length=200, description="What the key is for, to know it by in the list.")
    scope: Scope = Field(
        Scope.WRITE, description="`read` looks and changes nothing, `write` does the work, `admin` makes keys, too."
    )
    expires_at: Moment | None = Field(None, description="When the key stops to work; null: when it is revoked.")


class ApiKey(Answer):
    """A key, known by its first characters."""

    id: str
    name: str
    prefix: str
    scope: Scope
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    key: str | None = Field(None, description="The key itself; only in the answer that makes it.")

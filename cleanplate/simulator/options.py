"""Everything about the simulator that can be set: by a flag at the start, by the admin endpoint while it runs."""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Amount = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Place:
    """Where to listen. ``advertise`` names this machine in URLs where ``host`` is no address that others can reach."""

    host: str = "127.0.0.1"
    port: int = 9090
    advertise: str | None = None
    state_dir: Path | None = None


class Options(BaseModel):
    """Each field is a flag of the same name; its description is the flag's help."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slots: int = Field(24, ge=0, description="Tasks that an account may have in flight.")
    credits: Amount = Field(100_000, description="Credits that an account starts with.")
    cost: Amount = Field(5, description="Credits that one task costs.")
    latency: Amount = Field(4, description="Mean seconds from accepting a task to its end.")
    spread: Amount = Field(0.25, description="Standard deviation of the latency as a share of its mean.")
    seed: int = Field(1, description="Fixes every draw: latencies, faults, noise.")
    erase: Literal["inpaint", "fast"] = Field("inpaint", description="`fast` gives the input back, for benches.")
    dilate_limit: int = Field(100, ge=0, description="Largest dilate_pixels: the page says 100, newer clients 25.")
    max_megapixels: Amount = Field(0, description="Larger results come back scaled down to this; 0 leaves them.")
    fresh_urls: bool = Field(False, description="Whether each poll that says Ready mints a new delivery URL.")
    polling_url_with_webhook: bool = Field(False, description="Whether a submit with webhook_url gets a polling_url.")
    callback_auth: Literal["signature", "secret", "both"] = Field(
        "signature", description="What a webhook_secret becomes: a signature, the secret itself in a header, or both."
    )
    retry_after: bool = Field(True, description="Whether an answer of 429 carries Retry-After.")
    tell_cost: bool = Field(True, description="Whether answers tell the cost.")


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

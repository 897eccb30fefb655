"""The headers by which a receiver knows an event for ours, by Standard Webhooks."""

import base64
from collections.abc import Sequence
from datetime import datetime

from standardwebhooks import Webhook

from cleanplate import vault


def headers(event_id: str, at: datetime, body: str, secrets: Sequence[str]) -> dict[str, str]:
    """Return the headers of ``body``, sent at this time and signed with each of ``secrets`` (``whsec_...``)."""
    return {
        "content-type": "application/json",
        "user-agent": "Cleanplate-Webhooks",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(event_id, at, body) for secret in secrets),
    }


def of_listeners(tenant_id: str) -> str:
    """Return the secret that signs what a tenant's listeners hear: always the same, so that it can be configured once.

    Raises :class:`cleanplate.vault.VaultError` when no key is set.
    """
    return f"whsec_{base64.b64encode(bytes.fromhex(vault.derive(f'listeners {tenant_id}')[0])).decode()}"

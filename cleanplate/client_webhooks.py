"""The client's webhooks: who hears of what, and what became of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cleanplate.connection import Connection
from cleanplate.resources import Endpoint, Page
from cleanplate.webhooks import Delivery, DeliveryDetails, DeliveryStatus, EndpointChange, Heard, Listener, Recovery

ENDPOINTS = "/v1/webhook-endpoints"
LISTENERS = "/v1/listeners"


class Webhooks(Connection):
    """The calls about endpoints, deliveries and listeners."""

    def create_endpoint(self, url: str, events: Sequence[str] = ()) -> Endpoint:
        """Register a receiver of webhooks; its ``secret`` is only in this answer."""
        body = {"url": url, "events": list(events)}
        return self._create(Endpoint, lambda key: self._ask("POST", ENDPOINTS, json=body, headers=key))

    def endpoints(self, *, cursor: str | None = None) -> Page[Endpoint]:
        """Return one page of the team's receivers, newest first."""
        return self._get(Page[Endpoint], ENDPOINTS, params={"cursor": cursor} if cursor else {})

    def endpoint(self, endpoint_id: str) -> Endpoint:
        return self._get(Endpoint, f"{ENDPOINTS}/{endpoint_id}")

    def update_endpoint(self, endpoint_id: str, change: EndpointChange) -> Endpoint:
        """Change what is set in ``change``; with ``enabled`` turn it off or on again."""
        body = change.model_dump(exclude_none=True)
        return self._parse(Endpoint, self._repeat(lambda: self._ask("PATCH", f"{ENDPOINTS}/{endpoint_id}", json=body)))

    def delete_endpoint(self, endpoint_id: str) -> None:
        """Forget a receiver; ``NotFoundError`` may mean that it is done and the answer was lost."""
        self._repeat(lambda: self._ask("DELETE", f"{ENDPOINTS}/{endpoint_id}"))

    def rotate_secret(self, endpoint_id: str) -> Endpoint:
        """Make a new ``secret``, which is only in this answer; the last one signs for 24 h more, too."""
        path = f"{ENDPOINTS}/{endpoint_id}/rotate-secret"
        return self._create(Endpoint, lambda key: self._ask("POST", path, headers=key))

    def test_endpoint(self, endpoint_id: str) -> Delivery:
        """Send a ``webhook.test`` to this receiver alone; :meth:`delivery` tells what became of it."""
        path = f"{ENDPOINTS}/{endpoint_id}/test"
        return self._create(Delivery, lambda key: self._ask("POST", path, headers=key))

    def recover(self, endpoint_id: str, since: datetime) -> Recovery:
        """Turn a receiver on and send again what failed since then, which has an offset; with ``more``, call again."""
        path, params = f"{ENDPOINTS}/{endpoint_id}/recover", {"since": since.isoformat()}
        return self._parse(Recovery, self._repeat(lambda: self._ask("POST", path, params=params)))

    def deliveries(
        self,
        endpoint_id: str,
        *,
        status: DeliveryStatus | None = None,
        event_type: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Delivery]:
        """Return one page of what was to be sent to a receiver, newest first."""
        given: dict[str, Any] = {"status": status, "event_type": event_type, "cursor": cursor, "limit": limit}
        for name, moment in (("created_after", created_after), ("created_before", created_before)):
            given[name] = moment and moment.isoformat()
        params = {name: value for name, value in given.items() if value is not None}
        return self._get(Page[Delivery], f"{ENDPOINTS}/{endpoint_id}/deliveries", params=params)

    def delivery(self, delivery_id: str) -> DeliveryDetails:
        """Return one delivery, with its body and every try."""
        return self._get(DeliveryDetails, f"/v1/deliveries/{delivery_id}")

    def redeliver(self, delivery_id: str) -> Delivery:
        """Send an event again at once, with its old ``webhook-id``."""
        path = f"/v1/deliveries/{delivery_id}/redeliver"
        return self._parse(Delivery, self._repeat(lambda: self._ask("POST", path)))

    def create_listener(self) -> Listener:
        """Begin to listen to events; whoever does not ask for them is forgotten after two minutes."""
        return self._create(Listener, lambda key: self._ask("POST", LISTENERS, headers=key))

    def hear(self, listener_id: str, cursor: str | None = None, *, wait: float = 20) -> Heard:
        """Return the next events, or none after ``wait`` seconds; ``cursor`` is the last answer's ``next_cursor``."""
        params = {"wait": wait} | ({"cursor": cursor} if cursor else {})
        return self._get(Heard, f"{LISTENERS}/{listener_id}/events", params=params)

    def delete_listener(self, listener_id: str) -> None:
        """Stop listening."""
        self._repeat(lambda: self._ask("DELETE", f"{LISTENERS}/{listener_id}"))

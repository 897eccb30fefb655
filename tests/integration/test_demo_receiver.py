import json
from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from cleanplate.cli.demo.receiver import Receiver

SECRET = "whsec_" + "c2VjcmV0" * 4


def send(receiver: Receiver, kind: str, secret: str = SECRET) -> int:
    body = json.dumps({"type": kind, "data": {"id": "bat_1"}})
    now = datetime.now(UTC)
    signature = Webhook(secret).sign("msg_1", now, body)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
    return httpx.post(receiver.url, content=body, headers=headers, trust_env=False).status_code


def test_the_event_that_is_waited_for_is_told_and_others_are_passed_over() -> None:
    with Receiver() as receiver:
        assert send(receiver, "job.succeeded") == 204
        assert send(receiver, "batch.completed") == 204
        assert receiver.wait_for("batch.completed", SECRET, 100) == {"id": "bat_1"}


def test_a_forged_signature_is_told() -> None:
    with Receiver() as receiver:
        send(receiver, "batch.completed", "whsec_" + "b3RoZXI=" * 4)
        with pytest.raises(WebhookVerificationError):
            receiver.wait_for("batch.completed", SECRET, 100)


def test_silence_ends() -> None:
    with Receiver() as receiver, pytest.raises(TimeoutError, match=r"no batch\.completed came"):
        receiver.wait_for("batch.completed", SECRET, 0.01)

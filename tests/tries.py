"""The tries of webhooks that are due, made here and now."""

from cleanplate import db
from worker import deliveries, notify
from worker.deliveries import Tried
from worker.lanes import Lanes

SECONDS = 0.25
"""How long each is said to have taken."""


def make() -> None:
    """Make them, as far as they are made at once."""
    with db.transaction() as tx:
        letters = deliveries.begin(tx, Lanes().allot(deliveries.due(tx), 0.0))
    tried = [Tried(letter, notify.deliver(letter), SECONDS) for letter in letters]
    with db.transaction() as tx:
        deliveries.settle(tx, tried)

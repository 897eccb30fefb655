"""Faults by rule: what goes wrong, where, and how often. Tests post a list of rules; each draw is seeded."""

import random
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

ANSWER = {"status", "drop_before", "delay", "hang", "broken_json", "html"}
KNOWN = {
    "submit": ANSWER | {"drop_after", "task_status", "never_ready", "foreign_polling_url"},
    "poll": ANSWER | {"unknown_status", "task_status", "never_ready", "not_found", "foreign_sample_url"},
    "delivery": (ANSWER - {"broken_json"}) | {"drop_after", "truncated", "wrong_size", "slow_body"},
    "callback": {"drop_before", "delay", "forged", "replayed", "early", "broken_json"},
    "credits": ANSWER,
}


class Rule(BaseModel):
    """One fault. Without ``nth`` or ``probability`` it strikes every time; ``times`` bounds how often in all."""

    model_config = ConfigDict(extra="forbid")

    where: Literal["submit", "poll", "delivery", "callback", "credits"]
    what: str

    # when it strikes
    probability: float = Field(1, ge=0, le=1)
    nth: frozenset[Annotated[int, Field(ge=1)]] | None = None
    times: int | None = Field(None, ge=0)

    # whom it strikes
    account: str | None = None
    task: str | None = None
    image_sha256: str | None = None

    # what exactly happens
    code: int = Field(500, ge=200, le=599, description="HTTP status of `status`.")
    body: str = Field('{"detail":"Internal Server Error"}', description="Body of `status`.")
    headers: dict[str, str] = Field({}, description="Headers of `status`, such as Retry-After.")
    after: bool = Field(False, description="Whether a submit's `status`, `delay` or `hang` comes once it is charged.")
    seconds: float | None = Field(None, ge=0, description="Length of `delay`, `slow_body`; of `hang`, else for ever.")
    value: str | None = Field(None, description="The status or the URL that is answered instead.")

    @model_validator(mode="after")
    def _fits(self) -> "Rule":
        if self.what not in KNOWN[self.where]:
            raise ValueError(
                f"{self.what} is no fault of {self.where}; known are {', '.join(sorted(KNOWN[self.where]))}"
            )
        return self

    @property
    def charged(self) -> bool:
        """Whether a submit struck by this is accepted and charged all the same."""
        return self.what not in {"status", "drop_before", "delay", "hang"} or self.after


class Faults:
    """The rules in force. The first that matches and strikes wins."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.clear()

    def clear(self) -> None:
        self._rules: list[tuple[Rule, random.Random]] = []
        self._met: list[int] = []
        self._struck: list[int] = []

    def add(self, rules: list[Rule]) -> None:
        for rule in rules:
            chance = random.Random(f"{self._seed}:fault:{len(self._rules)}")  # noqa: S311  repeatable, not unguessable
            self._rules.append((rule, chance))
            self._met.append(0)
            self._struck.append(0)

    def draw(self, where: str, **about: str | None) -> Rule | None:
        """Return the fault that strikes here and now; ``about`` names account, task and image_sha256 where known."""
        for index, (rule, chance) in enumerate(self._rules):
            if rule.where != where or not _concerns(rule, about):
                continue
            self._met[index] += 1
            if rule.times is not None and self._struck[index] >= rule.times:
                continue
            if rule.nth is not None and self._met[index] not in rule.nth:
                continue
            if rule.probability < 1 and chance.random() >= rule.probability:
                continue
            self._struck[index] += 1
            return rule
        return None

    def report(self) -> list[dict[str, object]]:
        """Return every rule with how often it was met and how often it struck."""
        return [
            rule.model_dump(mode="json", exclude_defaults=True) | {"met": met, "struck": struck}
            for (rule, _), met, struck in zip(self._rules, self._met, self._struck, strict=True)
        ]


def _concerns(rule: Rule, about: dict[str, str | None]) -> bool:
    return all(
        wanted is None or about.get(name) == wanted
        for name, wanted in (("account", rule.account), ("task", rule.task), ("image_sha256", rule.image_sha256))
    )

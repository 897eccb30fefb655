"""What answers say to browsers and caches."""

import base64
import hashlib
import re
from typing import Any

import httpx
import pytest

from cleanplate.api_keys import Scope
from tests.api import Api, problem
from tests.pictures import IMAGE, MASK

PAIR = {
    "image": ("a.jpg", IMAGE),
    "mask": ("m.png", MASK),
}


def test_the_page_of_the_documentation_runs_only_what_its_policy_names(api: Api) -> None:
    with api.anonymous() as nobody:
        page = nobody.get("/docs")
    policy = page.headers["content-security-policy"]
    scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert scripts
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    scripted = re.search(r"script-src ([^;]+)", policy)
    assert scripted
    assert "unsafe" not in scripted[1]
    assert "frame-ancestors 'none'" in policy


def test_the_page_of_the_documentation_refers_to_no_other_host(api: Api) -> None:
    with api.anonymous() as nobody:
        page = nobody.get("/docs")
        assert "//" not in page.text + page.headers["content-security-policy"]
        named = set(re.findall(r'(?:src|href)="(/[^"]+)"', page.text)) | set(re.findall(r"url: '([^']+)'", page.text))
        answers = {path: nobody.get(path).raise_for_status() for path in named}
    kinds = {path.rpartition(".")[2]: answer.headers["content-type"] for path, answer in answers.items()}
    assert kinds.keys() == {"js", "css", "json"}
    assert re.match("(text|application)/javascript", kinds["js"])
    assert kinds["css"].startswith("text/css")
    style = next(answer.text for path, answer in answers.items() if path.endswith(".css"))
    assert set(re.findall(r"url\([\"']?(\w+:)?", style)) <= {"data:"}
    assert "@import" not in style


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/v1/jobs", {"files": PAIR, "data": {"webhook_url": "https://example.com/a"}}),
        ("/v1/batches", {"files": {"options": (None, '{"seal": false, "webhook_url": "https://example.com/b"}')}}),
        ("/v1/webhook-endpoints", {"json": {"url": "https://example.com/c"}}),
        ("/v1/api-keys", {"json": {"name": "x"}}),
    ],
)
def test_an_answer_that_shows_a_secret_is_stored_by_nobody(api: Api, path: str, given: dict[str, Any]) -> None:
    with api.client(Scope.ADMIN) as client:
        answer = client.post(path, **given).raise_for_status()
        assert answer.headers["cache-control"] == "no-store"
        assert re.search(r'"(cp_|whsec_)', answer.text)


def test_an_answer_without_a_secret_says_nothing_of_caches(client: httpx.Client) -> None:
    assert "cache-control" not in client.post("/v1/jobs", files=PAIR).headers


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v1/jobs", "GET, POST"), ("/v1/webhook-endpoints/whe_1", "DELETE, GET, PATCH"), ("/livez", "GET")],
)
def test_a_method_that_is_not_allowed_is_told_all_that_are(api: Api, path: str, allowed: str) -> None:
    with api.anonymous() as nobody:
        answer = nobody.options(path)
        assert problem(answer, 405, "method_not_allowed")["detail"] == f"This address takes {allowed}."
        assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/", "/v1/batch"])
def test_who_asks_for_what_is_nowhere_hears_where_to_look(api: Api, path: str) -> None:
    with api.anonymous() as nobody:
        assert "/docs" in problem(nobody.get(path), 404, "not_found")["detail"]

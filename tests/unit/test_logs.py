import logging

import pytest

from cleanplate import logs
from cleanplate.tenants import new_secret

SIGNATURE = "9GcKp2Yd%2Bx%3D"


def line(message: str, *args: object, error: BaseException | None = None) -> str:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("worker", logging.INFO, __file__, 1, message, args, info)
    return logs.Redacting(logs.FORMAT).format(record)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("key cp_Abc-123_xyz refused", "key cp_*** refused"),
        ('{"authorization": "Bearer cp_Abc-123_xyz"}', '{"authorization": "Bearer cp_***"}'),
        ("secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw==.", "secret whsec_***."),
        (
            f"https://x.blob.core.windows.net/r.png?se=2026&sig={SIGNATURE}&sp=r",
            "https://x.blob.core.windows.net/r.png?se=2026&sig=***&sp=r",
        ),
        (f"GET /r.png?sig={SIGNATURE} HTTP/1.1", "GET /r.png?sig=*** HTTP/1.1"),
        ("s3/x?X-Amz-Credential=AKIA%2Fx&X-Amz-Signature=ab12", "s3/x?X-Amz-Credential=***&X-Amz-Signature=***"),
        ("s3/x?AWSAccessKeyId=AKIA&Signature=a%2Bb&Expires=1", "s3/x?AWSAccessKeyId=AKIA&Signature=***&Expires=1"),
        ("https://s3/x?X-Amz-Security-Token=FwoG", "https://s3/x?X-Amz-Security-Token=***"),
        ("postgresql://joe:hunter2@db:5432/x is away", "postgresql://joe:***@db:5432/x is away"),
        ("redis://:hunter2@cache:6379/0", "redis://:***@cache:6379/0"),
        ("postgresql://joe:hunt@er2@db/x", "postgresql://joe:***@db/x"),
        ("https://user:a:b@receiver.example/hook", "https://user:***@receiver.example/hook"),
    ],
)
def test_a_secret_is_blanked_wherever_it_stands(said: str, shown: str) -> None:
    assert line("%s", said).endswith(f" worker {shown}")


@pytest.mark.parametrize(
    "said",
    [
        "tcp_nodelay and scp_ are words",
        "http://127.0.0.1:8000/v1/jobs at 10:30 by joe@example.com",
        "http://127.0.0.1:8000?to=joe@example.com",
        "job_0198f2 goes from queued to claimed",
        "signature=x is no parameter of an address, design=fine neither",
    ],
)
def test_what_is_no_secret_is_left_alone(said: str) -> None:
    assert line("%s", said).endswith(f" worker {said}")


def test_a_key_as_we_make_them_is_never_shown() -> None:
    for _ in range(100):
        key = new_secret()
        assert key[3:] not in line("got %s", key)


def test_a_secret_in_a_trace_or_in_the_cause_of_an_error_is_blanked() -> None:
    def refuse() -> None:
        raise ConnectionError("redis://:hunter2@cache:6379/0")

    def fail() -> None:
        try:
            refuse()
        except ConnectionError as error:
            raise RuntimeError(f"https://x.bfl.ai/r.png?sig={SIGNATURE}") from error

    with pytest.raises(RuntimeError) as caught:
        fail()
    shown = line("it broke", error=caught.value)
    assert "Traceback" in shown
    assert "hunter2" not in shown
    assert SIGNATURE not in shown


def test_everything_goes_to_stderr_in_one_format_and_chatty_libraries_are_quiet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    level = root.level
    quiet = {name: logging.getLogger(name).level for name in logs.QUIET}
    try:
        logs.setup("info")
        logging.getLogger("worker.conveyor").info("takes up to %s", 24)
        logging.getLogger("httpx").info("GET https://x.bfl.ai/?sig=secret")
        logging.getLogger("worker.conveyor").debug("nothing")
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        for name, was in quiet.items():
            logging.getLogger(name).setLevel(was)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.endswith(" INFO worker.conveyor takes up to 24\n")
    assert told.err.count("\n") == 1

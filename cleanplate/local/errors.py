"""What can keep the stack of one machine from running; every message says what to do about it."""


class StackError(Exception):
    """Meant for a person: its text is printed as it is, without a traceback."""


class PortInUseError(StackError):
    def __init__(self, port: int, other: int) -> None:
        super().__init__(f"port {port} is in use; stop what uses it or pass --port {other}")


class AlreadyRunningError(StackError):
    def __init__(self, data_dir: object, pid: int) -> None:
        super().__init__(
            f"another cleanplate (pid {pid}) uses {data_dir}; stop it (kill {pid}) "
            "or name another directory in CLEANPLATE_DATA_DIR"
        )


class MissingServerError(StackError):
    """A server that should come with a wheel, or be found on PATH, is nowhere."""


class ServiceFailedError(StackError):
    """A service ended, or stayed silent, before it was ready."""

    def __init__(self, name: str, reason: str, log: object, tail: str) -> None:
        super().__init__(f"{name} {reason}; its log is {log} and ends:\n{tail or '(empty)'}")

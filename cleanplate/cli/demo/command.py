"""``cleanplate demo``: everything, once, from nothing to a contact sheet."""

from pathlib import Path
from typing import Annotated

import typer

from cleanplate.cli.exits import Code, end


def demo(
    photos: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Your own: NAME.jpg with NAME_mask.png.")
    ] = None,
    out: Annotated[Path, typer.Option(file_okay=False, help="For the results and the contact sheet.")] = Path(
        "demo-out"
    ),
    count: Annotated[int, typer.Option(min=1, max=500, help="How many photographs to draw.")] = 12,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="With a BFL_API_KEY: pay without asking.")] = False,
) -> None:
    """Show all of it on this machine: start the stack, erase photographs, verify the webhook, write a contact sheet.

    Without BFL_API_KEY a simulator stands in for the upstream and nothing is paid. Everything that was started is
    stopped again, and its data is removed.
    """

    def work() -> Code:
        from cleanplate.cli.demo.performance import perform  # brings OpenCV, which no other command needs

        return perform(photos, out, count, yes=yes)

    end(work, resumable=False)

"""How scenarios went: for people on a console, for machines as JUnit's XML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.text import Text

from invorto.errors import UsageError
from invorto.simulate.caller import Outcome


def show(outcomes: Sequence[Outcome], console: Console, *, verbose: bool = False) -> None:
    """Print a line for each scenario, what was said where it failed, and a last line that counts."""
    for one in outcomes:
        mark = Text("✓", style="green") if one.passed else Text("✗", style="red")
        console.print(mark, Text(f"{one.scenario.name}  ({one.seconds:.1f} s of call)"))
        for fault in one.faults:
            console.print(Text(f"    {fault}", style="red"))
        if verbose or not one.passed:
            for line in transcript(one):
                console.print(Text(f"    {line}", style="dim"))
    failed = sum(not one.passed for one in outcomes)
    console.print(Text(f"{len(outcomes)} scenarios, {failed} failed", style="red" if failed else "green"))


def transcript(outcome: Outcome) -> list[str]:
    """Give what both said, as it was heard."""
    said = outcome.left.record.transcript if outcome.left.record is not None else ()
    return [
        f"{one.began:7.2f}  {'caller' if one.role == 'user' else 'agent '}  {one.text}{' ✂' if one.interrupted else ''}"
        for one in said
    ]


def write_junit(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write what continuous integration reads; `UsageError` where *path* cannot be written."""
    failed = sum(not one.passed for one in outcomes)
    seconds = f"{sum(one.seconds for one in outcomes):.3f}"
    suite = ET.Element(
        "testsuite", name="invorto simulate talk", tests=str(len(outcomes)), failures=str(failed), errors="0",
        time=seconds,
    )  # fmt: skip
    for one in outcomes:
        case = ET.SubElement(
            suite, "testcase", name=_plain(one.scenario.name), classname="invorto.simulate", time=f"{one.seconds:.3f}"
        )
        if not one.passed:
            failure = ET.SubElement(case, "failure", message=_plain(one.faults[0]))
            failure.text = _plain("\n".join(one.faults))
        ET.SubElement(case, "system-out").text = _plain("\n".join(transcript(one)))
    try:
        ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror})") from None


def _plain(text: str) -> str:
    """Leave out what XML cannot hold."""
    return "".join(char for char in text if char in "\t\n" or ord(char) >= 32)

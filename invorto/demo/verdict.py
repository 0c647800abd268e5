"""The demo's last word: each expectation and whether it was met."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.text import Text

from invorto.caller.story import plain
from invorto.demo.leavings import Leavings
from invorto.demo.script import Finding


def verdict(findings: Sequence[Finding], left: Leavings, recording: Path, console: Console) -> int:
    """Print the findings, and where everything is; gives the exit code."""
    console.rule("verdict", align="left")
    for finding in findings:
        mark = ("✓ ", "green") if finding.met else ("✗ ", "red")
        console.print(Text.assemble(mark, finding.what, (f"  {plain(finding.detail)}", "dim")), soft_wrap=True)
    waits = [turn["voiceToVoiceMs"] for turn in left.call["metrics"] if turn["voiceToVoiceMs"] is not None]
    if waits:
        spread = f"median of {len(waits)}, {min(waits):.0f} to {max(waits):.0f}"
        quick = f"answers began {median(waits):.0f} ms after the caller's last word ({spread})"
        console.print(Text(quick), soft_wrap=True)
    console.print(Text(f"recording   {recording}"), soft_wrap=True)
    for kind in ("transcript", "timeline", "call"):
        console.print(Text(f"{kind:10}  {recording.with_suffix(f'.{kind}.json')}"), soft_wrap=True)
    missed = [finding.what for finding in findings if not finding.met]
    if missed:
        console.print(Text(f"not as expected: {'; '.join(missed)}", style="red"), soft_wrap=True)
        return 1
    console.print(Text("everything was understood and answered", style="bold green"))
    return 0

"""`invorto demo`: one whole spoken conversation on this machine, shown as it goes and judged in the end."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path

import attrs
import trio
from rich.console import Console

from invorto.caller.calling import open_caller
from invorto.caller.reach import Server
from invorto.caller.screen import open_screen
from invorto.config import Config, load
from invorto.demo.leavings import Leavings, judge, keep, read_leavings, show
from invorto.demo.progress import Bars, open_bars
from invorto.demo.script import Finding, Script, book
from invorto.demo.verdict import verdict
from invorto.dev import base_url, demo_agent, embedded, seed
from invorto.errors import NotFound, StartFailed, UsageError
from invorto.resources import Resources
from invorto.storage import agents
from invorto.supervisor import INTERRUPTED, Stop, serve

AGENT = "demo call"
"""The agent that is called: `invorto dev`'s own may have been changed by whoever owns the folder."""
CALLS = "2"
"""Calls on this machine's engines: more than the demo makes, so that nothing is measured while it goes on."""


@attrs.define
class Demo:
    """One run."""

    console: Console
    bars: Bars
    findings: list[Finding] = attrs.field(factory=list[Finding])
    left: Leavings | None = None
    """What the call left; None while it has not been held to its end."""

    async def hold(self, resources: Resources, addresses: list[tuple[str, int]], stop: Stop) -> None:
        """Call, once all is loaded, and have the server stop; a signal ends the conversation at once."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancelled_by, stop.asked, nursery.cancel_scope)
                await self._converse(resources, addresses)
                nursery.cancel_scope.cancel()
        finally:
            interrupted = stop.asked.is_set()
            stop.ask()
            if interrupted:  # whoever presses Ctrl-C has heard enough: no goodbye is waited for
                stop.ask()
                stop.ask()

    async def _converse(self, resources: Resources, addresses: list[tuple[str, int]]) -> None:
        await resources.engines.wait_ready()
        if missing := [f"{engine.kind} ({engine.name})" for engine in resources.engines.health() if not engine.ready]:
            raise StartFailed(f"these engines do not load: {', '.join(missing)}; see the log, with --log warning")
        made = await seed(resources.database, resources.config.stores.data_dir)
        agent = await _agent(resources, made.tenant_id)
        self.bars.close()
        server = Server(base_url(resources.config, addresses), made.key)
        began = datetime.now().astimezone()
        call_id = f"demo-{began:%Y%m%d-%H%M%S}"
        with open_screen(self.console) as screen:
            async with open_caller(server, agent, call_id, tell=screen.take, answer_tool=book) as caller:
                script = Script(caller, lambda text: screen.note(caller.now, text), began.date())
                await script.hold()
        left = await read_leavings(server, call_id)
        self.findings = [*script.findings, *judge(left, caller, script.cut)]
        self.left = left


async def demo(config: Config, save: Path | None, data: Path | None = None) -> int:
    """
    Hold the conversation; gives 0 only if all that was asked was understood and answered.

    What the call leaves is kept in the folder *save*; the server's own data is in *data*, or in a folder that is
    removed at the end. Of *config* only the logging counts: the demo is the same everywhere.
    """
    console = Console()
    save = _writable(save or Path("data/demo"))
    with tempfile.TemporaryDirectory(prefix="invorto-demo-") if data is None else nullcontext(data) as folder:
        environ = {"DATA_DIR": str(folder), "API_PORT": "0", "LOCAL_ENGINE_CALLS": CALLS}
        settings = attrs.evolve(load(environ), observing=config.observing)
        async with open_bars(console) as bars:
            run = Demo(console, bars)
            code = await serve(
                settings, prepare=partial(embedded, progress=bars.step), ready=run.hold, progress=bars.load
            )
    if run.left is None:
        return code or INTERRUPTED
    name = run.left.call["id"]
    recording = keep(run.left, save, name)
    show(run.left, console)
    return verdict(run.findings, run.left, recording, console)


async def _agent(resources: Resources, tenant_id: str) -> str:
    """Make the agent, or make it what it should be."""
    database, document = resources.database, demo_agent()
    try:
        agent = await agents.get(database, tenant_id, AGENT)
    except NotFound:
        agent = await agents.create(database, tenant_id, name=AGENT, document=document)
    if agent.document != document or agent.status != "active":
        await agents.change(database, tenant_id, agent.id, document=document, status="active")
    return agent.id


def _writable(folder: Path) -> Path:
    """Make a folder for what is kept, before anything else takes time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"nothing can be kept in {folder} ({error.strerror}): choose another folder with --save"
        ) from None
    return folder


async def _cancelled_by(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()

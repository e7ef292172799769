"""The `seamark` command. Data goes to standard output, messages to standard error; 2 means the user can mend it.

Every command imports what it needs itself, so that `seamark --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from seamark.errors import NotFound, SeamarkError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from seamark.seen import Verb
    from seamark.state import State
    from seamark_local.home import Home
    from seamark_local.store import Store

__all__ = ["app"]

EXAMPLES = """\
Serves models, watches them, retrains them and moves new versions in with care.

\b
Examples:
  seamark up -f churn.yaml           run what the manifest says, until Ctrl-C
  seamark status --watch             see revisions, traffic, drift, quality, verdict
  seamark apply -f churn.yaml        take up a changed manifest
  seamark plan -f churn.yaml         see what a manifest would do now
  seamark promote churn              let the challenger take over
  seamark abort churn                all traffic back to the champion
  seamark logs gateway -f            follow a process's log
  seamark down                       stop everything; the next up goes on from there
"""


class _Group(TyperGroup):
    """Turns the errors Seamark raises on purpose into one line and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            _fail(str(error), 2)
        except SeamarkError as error:
            _fail(str(error), 1)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except Exception as error:
            if not _is_the_disks(error):
                raise
            _fail(f"Cannot run seamark {ctx.invoked_subcommand}: {error}", 2)


def _is_the_disks(error: Exception) -> bool:
    """A full or damaged disk; not a reader of our output that has gone, which the command line sees to itself."""
    # Whoever raised it has imported it.
    database = sys.modules.get("sqlite3")
    if database is not None and isinstance(error, database.Error):
        return True
    return isinstance(error, OSError) and not isinstance(error, BrokenPipeError)


def _fail(message: str, status: int) -> None:
    typer.echo(message, err=True)
    raise typer.Exit(status)


app = typer.Typer(cls=_Group, help=EXAMPLES, rich_markup_mode=None, add_completion=False, no_args_is_help=True)

HomeOption = Annotated[Path, typer.Option("--home", envvar="SEAMARK_HOME", help="Folder of the platform's state.")]
FilesOption = Annotated[list[Path], typer.Option("--file", "-f", help="Manifest in YAML; may be given several times.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of a ModelDeployment.")]
SomeName = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this ModelDeployment.")]
HOME = Path(".seamark")
WATCH_INTERVAL = 1.0
#: Seconds to wait for the operator to obey or refuse a command; it looks several times a second.
ANSWER_PATIENCE = 5.0


# --- running


@app.command()
def up(
    files: FilesOption = [],  # noqa: B006 - typer reads it, nobody writes it
    home: HomeOption = HOME,
    host: Annotated[str, typer.Option(help="Address the gateway listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port the gateway listens on.")] = 8080,
    prune: Annotated[bool, typer.Option("--prune", help="Delete deployments that no given file names.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing while all is well.")] = False,
) -> None:
    """Run everything until Ctrl-C.

    Without -f: go on with what was running.
    """
    from seamark_local.up import Options
    from seamark_local.up import up as run

    run(Options(home, files, host, port, prune, quiet))


@app.command()
def down(home: HomeOption = HOME) -> None:
    """Stop everything that `seamark up` runs."""
    from seamark_local.down import down as stop
    from seamark_local.home import find_home

    pid = stop(find_home(home).lock)
    typer.echo(f"Stopped Seamark in {home} (pid {pid})" if pid else f"Seamark is not running in {home}")


@app.command()
def apply(files: FilesOption, home: HomeOption = HOME) -> None:
    """Take up new or changed manifests.

    What runs follows at once; what is stopped follows with the next `seamark up`.
    """
    from seamark_local import manifests
    from seamark_local.home import make_home
    from seamark_local.store import Store
    from seamark_local.up import apply as take_up

    given = manifests.read(files)
    manifests.check_models(given)
    store = Store(make_home(home).database)
    try:
        for name, what in take_up(store, given):
            typer.echo(f"{name} {what}")
    finally:
        store.close()


@app.command()
def delete(name: NameArgument, home: HomeOption = HOME) -> None:
    """Stop serving a deployment.

    Its manifest is forgotten; its logged predictions stay.
    """
    _, store = _open(home)
    _known(store, name)
    store.forget(name)
    typer.echo(f"{name} deleted")


# --- people's decisions


def _ask(home: Path, name: str, verb: Verb, reason: str, effect: str) -> None:
    from seamark_local.lock import holder

    found, store = _open(home)
    _known(store, name)
    number = store.command(name, verb, by=_user(), reason=reason)
    if holder(found.lock) is None:
        typer.echo(f"{name}: {effect} once seamark up runs again; see seamark events {name}")
        return
    state = _when_obeyed(store, name, number)
    if state is None:
        typer.echo(f"{name}: {effect}; the operator has not answered yet, see seamark status")
        return
    # A later command may have been answered by now; then this one's answer is gone.
    if state.answer and state.last_command == number:
        raise UserError(state.answer)
    waits = f"; {state.message}" if state.message and verb in ("promote", "approve") else ""
    typer.echo(f"{name}: {effect}{waits}")


def _user() -> str:
    import getpass
    import os

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container the number may have no name
        return str(os.getuid())


def _when_obeyed(store: Store, name: str, number: int) -> State | None:
    """The state after the operator obeyed or refused the command; None when it takes too long."""
    import time

    deadline = time.monotonic() + ANSWER_PATIENCE
    while time.monotonic() < deadline:
        state = store.state(name)
        if state and state.last_command >= number:
            return state
        time.sleep(0.05)
    return None


Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the audit trail.")]


@app.command()
def promote(name: NameArgument, reason: Reason = "", home: HomeOption = HOME) -> None:
    """Let the challenger take over now.

    The rest of the rollout's steps are not waited for.
    """
    _ask(home, name, "promote", reason, "the challenger will become the champion")


@app.command()
def abort(name: NameArgument, reason: Reason = "", home: HomeOption = HOME) -> None:
    """Give the challenger up.

    All traffic goes back to the champion.
    """
    _ask(home, name, "abort", reason, "all traffic will go back to the champion; the challenger is given up")


@app.command()
def pause(name: NameArgument, reason: Reason = "", home: HomeOption = HOME) -> None:
    """Decide nothing until `seamark resume`.

    Traffic stays as it is.
    """
    _ask(home, name, "pause", reason, "nothing will be decided until seamark resume; traffic stays as it is")


@app.command()
def resume(name: NameArgument, reason: Reason = "", home: HomeOption = HOME) -> None:
    """Go on deciding after a pause."""
    _ask(home, name, "resume", reason, "rollout and retraining will go on")


@app.command()
def approve(name: NameArgument, reason: Reason = "", home: HomeOption = HOME) -> None:
    """Approve the challenger.

    For manifests that ask for approvals.
    """
    _ask(home, name, "approve", reason, "the challenger will count as approved by you")


# --- looking


@app.command()
def status(
    name: SomeName = None,
    home: HomeOption = HOME,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep it up to date until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show traffic, drift, quality and verdicts."""
    found, store = _open(home)
    if name:
        _known(store, name)
    if as_json:
        _print_json(_overview(found, store, name))
        return
    console = _console()
    if not watch:
        console.print(_screen(found, store, name))
        return
    _watch(console, found, store, name)


@app.command()
def events(
    name: SomeName = None,
    home: HomeOption = HOME,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what happened, oldest first.

    Alarms, retrainings, weights, promotions, rollbacks.
    """
    import json
    import time

    from seamark_local.progress import event_line

    _, store = _open(home)
    if name:
        _known(store, name)
    last = 0
    while True:
        for event in store.events(after=last, name=name):
            last = event["id"]
            typer.echo(json.dumps(event) if as_json else event_line(event))
        if not follow:
            return
        time.sleep(0.5)


@app.command()
def logs(
    process: Annotated[str | None, typer.Argument(metavar="[PROCESS]", help="As listed without it.")] = None,
    home: HomeOption = HOME,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines from the end.")] = 50,
) -> None:
    """Show a process's log, or list the processes."""
    from seamark_local import logs as log_files
    from seamark_local.status import processes_table

    found, store = _open(home)
    if process is None:
        _console().print(processes_table(store.statuses(), (store.fact("gateway") or {}).get("port", 0)))
        return
    path = found.log_of(process)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in found.logs.glob("*.log")))
        raise NotFound(f"Cannot show the log of {process}: no such process; known: {known or 'none'}")
    end = log_files.size(path)
    _print_lines(log_files.tail(path, lines))
    if follow:
        log_files.follow(path, end, typer.echo)


@app.command()
def plan(
    name: SomeName = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Try this manifest instead.")] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Decide every recorded decision again.")] = False,
    home: HomeOption = HOME,
) -> None:
    """Show what would be decided now.

    On present facts; nothing is changed.
    """
    from seamark_local import manifests
    from seamark_local import plan as plans

    if (name is None) == (file is None):
        raise UserError("Cannot plan: give either NAME or -f FILE.yaml")
    if file is not None:
        given = manifests.read([file])
        manifests.check_models(given)
        for one in given:
            lines = plans.plan(home, one.deployment.name, one.document)
            _print_lines(lines if len(given) == 1 else [f"{one.deployment.name}:", *(f"  {line}" for line in lines)])
        return
    _, store = _open(home)
    known = _known(store, name or "")
    _print_lines(plans.replay(home, known) if replay else plans.plan(home, known, None))


@app.command()
def demo() -> None:
    """Show the main job, live, in five minutes.

    With real parts, in .seamark/demo.
    """
    from seamark_local.demo.__main__ import main

    main()


@app.command()
def version() -> None:
    """Show the version."""
    from importlib.metadata import version as installed

    typer.echo(f"seamark {installed('seamark-local')}")


def _show_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback(help=EXAMPLES)
def _any_command(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options that stand before a command."""


# --- shared by the commands


def _open(path: Path) -> tuple[Home, Store]:
    from seamark_local.home import find_home
    from seamark_local.store import Store

    home = find_home(path)
    return home, Store(home.database)


def _known(store: Store, name: str) -> str:
    names = [manifest.name for manifest in store.manifests()]
    if name not in names:
        raise NotFound(f"Cannot find {name}: no ModelDeployment has this name; known: {', '.join(names) or 'none'}")
    return name


def _console() -> Console:
    from rich.console import Console

    # Beyond a terminal there is no width to keep to; 100 is what the tables are made for.
    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=100)


def _print_json(document: object) -> None:
    import json

    typer.echo(json.dumps(document, indent=1))


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)


def _summaries(store: Store, name: str | None) -> list[dict[str, Any]]:
    """What the operator reported last; of a deployment it has not seen yet, that it is waiting."""
    names = [name] if name else [manifest.name for manifest in store.manifests()]
    waiting = {"ready": False, "phase": "Pending", "message": "not looked at yet", "revisions": []}
    return [store.summary(known) or {"name": known, **waiting} for known in names]


def _overview(home: Home, store: Store, name: str | None) -> dict[str, Any]:
    import msgspec

    from seamark_local.lock import holder

    return {
        "running": holder(home.lock) is not None,
        "gateway": store.fact("gateway"),
        "deployments": _summaries(store, name),
        "processes": msgspec.to_builtins(store.statuses()),
    }


def _screen(home: Home, store: Store, name: str | None) -> Any:
    from rich.console import Group
    from rich.text import Text

    from seamark_local.lock import holder
    from seamark_local.status import table, troubles

    gateway = store.fact("gateway") or {}
    if holder(home.lock) is None:
        head = Text("Seamark is not running; this is what was true when it stopped", "yellow")
    else:
        head = Text(f"gateway http://{gateway.get('host', '?')}:{gateway.get('port', '?')}", "dim")
    found = [one for one in troubles(store.statuses()) if name is None or _concerns(one.name, name)]
    problems = [Text(f"{trouble.name}: {trouble.message}", "yellow") for trouble in found]
    return Group(head, Text(), table(_summaries(store, name)), *problems)


def _concerns(process: str, deployment: str) -> bool:
    """Is it the deployment's own, or one that all share?"""
    kind, _, owner = process.partition("-")
    return kind not in ("predictor", "monitor", "trainer") or owner.startswith(f"{deployment}-")


def _watch(console: Console, home: Home, store: Store, name: str | None) -> None:
    import time

    from rich.live import Live

    from seamark_local.status import cropped

    if not console.is_terminal:
        while True:
            console.print(_screen(home, store, name))
            time.sleep(WATCH_INTERVAL)
    with Live(cropped(_screen(home, store, name)), console=console, auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(WATCH_INTERVAL)
            live.update(cropped(_screen(home, store, name)), refresh=True)


if __name__ == "__main__":
    app()

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
from seamark_local import model_commands

if TYPE_CHECKING:
    from seamark.seen import Verb
    from seamark_local.place import Place

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
  seamark history churn              see every decision with its evidence
  seamark logs gateway -f            follow a process's log
  seamark down                       stop everything; the next up goes on from there
  seamark status -w --context prod   the same for a cluster, as kubectl knows it
  seamark package churn.skops --data sample.csv -o packages/churn
                                     a full package of a model you have
  seamark serve packages/churn       serve one, with the predictor alone
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
ContextOption = Annotated[
    str, typer.Option("--context", envvar="SEAMARK_CONTEXT", help="Not here, but in this context of kubectl.")
]
KubeconfigOption = Annotated[
    str, typer.Option("--kubeconfig", help="Not here, but where this file of kubectl's leads.", metavar="FILE")
]
NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", help="Of the cluster; by default the context's.")]
EverywhereOption = Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of the cluster.")]
HOME = Path(".seamark")


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
    from seamark_local.machine import Machine

    machine = Machine(home)
    machine.store.forget(machine.known(name))
    typer.echo(f"{name} deleted")


# --- people's decisions


def _decision(verb: Verb, explanation: str) -> None:
    """Make the command of this name."""

    @app.command(verb, help=explanation)
    def _(
        ctx: typer.Context,
        name: NameArgument,
        by: Annotated[str, typer.Option("--by", help="Who; by default you.")] = "",
        reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit trail.")] = "",
        home: HomeOption = HOME,
        context: ContextOption = "",
        kubeconfig: KubeconfigOption = "",
        namespace: NamespaceOption = "",
    ) -> None:
        place = _place(ctx, home, context, kubeconfig, namespace)
        typer.echo(place.ask(name, verb, by, reason))


_decision("promote", "Let the challenger take over now.\n\nThe rest of the rollout's steps are not waited for.")
_decision("abort", "Give the challenger up.\n\nAll traffic goes back to the champion.")
_decision("pause", "Decide nothing until `seamark resume`.\n\nTraffic stays as it is.")
_decision("resume", "Go on deciding after a pause.")
_decision("approve", "Approve the challenger.\n\nFor manifests that ask for approvals.")


# --- models without a manifest

app.command()(model_commands.package)
app.command(context_settings={"allow_extra_args": True})(model_commands.serve)


# --- looking


@app.command()
def status(
    ctx: typer.Context,
    name: SomeName = None,
    home: HomeOption = HOME,
    context: ContextOption = "",
    kubeconfig: KubeconfigOption = "",
    namespace: NamespaceOption = "",
    everywhere: EverywhereOption = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep it up to date until Ctrl-C.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show traffic, drift, quality and verdicts."""
    place = _place(ctx, home, context, kubeconfig, namespace, everywhere=everywhere)
    if as_json:
        _print_json(place.overview(name))
        return
    from seamark_local import looking

    show = looking.watch if watch else looking.show
    show(place, name)


@app.command()
def history(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a ModelDeployment or of a revision.")],
    home: HomeOption = HOME,
    context: ContextOption = "",
    kubeconfig: KubeconfigOption = "",
    namespace: NamespaceOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show decisions with their evidence.

    Promotions, rollbacks and retrainings, oldest first.
    """
    from seamark_local.history import lines

    found = _place(ctx, home, context, kubeconfig, namespace).history(name)
    if as_json:
        _print_json(found.document())
        return
    _print_lines(list(lines(found)))


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

    from seamark_local.machine import Machine
    from seamark_local.progress import event_line

    machine = Machine(home)
    if name:
        machine.known(name)
    last = 0
    while True:
        for event in machine.store.events(after=last, name=name):
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
    from seamark_local.looking import console
    from seamark_local.machine import Machine
    from seamark_local.status import processes_table

    machine = Machine(home)
    if process is None:
        gateway = machine.store.fact("gateway") or {}
        console().print(processes_table(machine.store.statuses(), gateway.get("port", 0)))
        return
    path = machine.home.log_of(process)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in machine.home.logs.glob("*.log")))
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
    from seamark_local.machine import Machine

    if (name is None) == (file is None):
        raise UserError("Cannot plan: give either NAME or -f FILE.yaml")
    if file is not None:
        given = manifests.read([file])
        manifests.check_models(given)
        for one in given:
            lines = plans.plan(home, one.deployment.name, one.document)
            _print_lines(lines if len(given) == 1 else [f"{one.deployment.name}:", *(f"  {line}" for line in lines)])
        return
    known = Machine(home).known(name or "")
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


def _place(
    ctx: typer.Context, home: Path, context: str, kubeconfig: str, namespace: str, *, everywhere: bool = False
) -> Place:
    """This machine or a cluster, as the options say. What is written out wins over the environment."""
    is_home_meant = _is_given(ctx, "home")
    if is_home_meant and (kubeconfig or (context and _is_given(ctx, "context"))):
        raise UserError("Cannot use --home with --context or --kubeconfig: one is this machine, the other a cluster")
    if namespace and everywhere:
        raise UserError("Cannot use -n with -A: give either one namespace or all")
    if not is_home_meant and (context or kubeconfig):
        from seamark_local.cluster.place import Cluster

        return Cluster(context, kubeconfig, namespace, everywhere=everywhere)
    if namespace or everywhere:
        raise UserError("Cannot look into namespaces of this machine: name a cluster with --context or --kubeconfig")
    from seamark_local.machine import Machine

    return Machine(home)


def _is_given(ctx: typer.Context, option: str) -> bool:
    """On the command line, and not by default or by the environment."""
    source = ctx.get_parameter_source(option)
    return source is not None and source.name == "COMMANDLINE"


def _print_json(document: object) -> None:
    import json

    typer.echo(json.dumps(document, indent=1))


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        typer.echo(line)


if __name__ == "__main__":
    app()

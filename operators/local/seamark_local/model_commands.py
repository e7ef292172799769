"""The commands that need no manifest: `seamark package` and `seamark serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["package", "serve"]


def package(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A .skops, .onnx, .joblib or .pkl file, or an MLflow folder.")
    ],
    data: Annotated[
        Path,
        typer.Option("--data", metavar="SAMPLE", help="Typical rows, CSV or Parquet: what drift is measured from."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The package, a new folder.")],
    name: Annotated[str | None, typer.Option(help="The model's name; by default the file's.")] = None,
    version: Annotated[str, typer.Option(help="The package's version.")] = "v1",
    label: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="The sample's column with true answers: measures the model."),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="auto|onnx|native",
            help="auto: ONNX where it answers alike and is faster, else the model's own format.",
        ),
    ] = "auto",
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="How far ONNX may be off: a probability, or a value in standard deviations.  [default: 1e-4]"
        ),
    ] = None,
    category: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Holds texts that look like numbers; may be given several times."),
    ] = None,
    classes: Annotated[
        str, typer.Option(metavar="A,B,...", help="Of an ONNX model that does not tell them, in its order.")
    ] = "",
    min_rows: Annotated[int, typer.Option(min=1, help="Refuse a sample of fewer rows.")] = 50,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Read .joblib and .pkl files, which can run any code.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the package in DIR.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Make a full package of a model you have.

    With a profile of the sample, and as ONNX where that answers like the original. DIR appears whole or not at all.
    """
    from seamark_local import packaging
    from seamark_local.model_name import model_name

    options = {
        "--data": data,
        "--output": output,
        "--name": model_name(str(model)) if name is None else name,
        "--version": version,
        "--label": label,
        "--format": form,
        "--tolerance": tolerance,
        "--classes": classes or None,
        "--min-rows": min_rows,
    }
    flags = {"--trust-pickle": trust_pickle, "--force": force, "--quiet": quiet}
    packaging.package(model, options, category or [], flags, as_json=as_json)


def serve(
    ctx: typer.Context,
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="PACKAGE_OR_MODEL",
            help="A package or MLflow folder; a .onnx, .skops or .joblib file; http(s)://, s3:// or models:/ of one.",
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="NAME=MODEL", help="One of several; may be given several times."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name in addresses; by default the package's.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port for HTTP.")] = 8080,
    grpc_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port for gRPC; by default there is none.")
    ] = None,
    workers: Annotated[
        str, typer.Option(metavar="N", help="Processes that share the port, or auto: one for each core.")
    ] = "1",
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Load .joblib and .pkl files, which can run any code.")
    ] = False,
) -> None:
    """Serve a package or a model file until Ctrl-C.

    With the predictor alone: no gateway, no monitoring. Prints a request that works once it is ready. Options of the
    predictor's own go after a `--`: seamark serve packages/churn -- --contract reject
    """
    from seamark_local import serving

    # What begins with a hyphen can only have come after the two hyphens.
    is_model = model is not None and not model.startswith("-")
    more = tuple(ctx.args if is_model or model is None else (model, *ctx.args))
    serving.serve(
        serving.Options(
            models=serving.models_of(model if is_model else None, name, models or []),
            host=host,
            port=port,
            grpc_port=grpc_port,
            workers=workers,
            trust_pickle=trust_pickle,
            more=more,
        )
    )

"""The command line: one module a command."""

import os
import sys
from io import TextIOWrapper

import typer

from app.cli import (
    accuracy,
    attention,
    benchmark,
    calibrate,
    compare,
    complexity,
    curve,
    generate,
    hits,
    memory,
    overlay,
    plan,
    policies,
    report,
    reproduce,
    scenario,
    serve,
    simulate,
    sweep,
    trace,
    validate,
)
from app.cli.interrupts import interrupt, on_interrupt
from app.cli.output import complain, refuse
from simcore.errors import InputError

INTERRUPTED = 130  # also what typer makes of Ctrl+C

app = typer.Typer(
    name="kvscope",
    help="A lab for the memory of LLM serving. `kvscope desktop [FILE]` opens the window.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("simulate")(simulate.simulate)
app.command("report")(report.report)
app.command("validate")(validate.validate)
app.command("calibrate")(calibrate.calibrate)
app.command("plan")(plan.plan)
app.command("overlay")(overlay.overlay)
app.command("accuracy")(accuracy.accuracy)
app.command("generate")(generate.generate)
app.command("complexity")(complexity.complexity)
app.command("policies")(policies.policies)
app.command("compare")(compare.compare)
app.command("sweep")(sweep.sweep)
app.command("hits")(hits.hits)
app.command("curve")(curve.curve)
app.command("memory")(memory.memory)
app.command("serve")(serve.serve)
app.command("reproduce")(reproduce.reproduce)
app.add_typer(scenario.app, name="scenario")
app.add_typer(trace.app, name="trace")
app.add_typer(attention.app, name="attention")
app.add_typer(benchmark.app, name="benchmark")


def _told(error: BaseException) -> str | None:
    """A sentence on what is no error of the program: of a policy that the person brought, or of the machine."""
    from simcore.policies.families import blame

    if sentence := blame(error):
        return sentence
    if isinstance(error, MemoryError):
        return "there is not enough memory for this; take fewer requests, or shorter ones"
    if isinstance(error, OSError):  # files have sentences of their own: it is standard output, or the working directory
        return f"cannot go on: {error}"
    return None


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code. Wrong input is one sentence on standard error, and exit code 2."""
    command = typer.main.get_command(app)
    if sys.stdout is None:  # it was closed before the program began
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every console has all letters of a name
    interrupted = False

    def end() -> None:
        nonlocal interrupted
        interrupted = True
        interrupt()

    try:
        with on_interrupt(end):
            code = command.main(sys.argv[1:] if argv is None else argv, prog_name="kvscope", standalone_mode=False)
    except InputError as error:
        return refuse(str(error))
    except typer.TyperException as error:
        message = error.format_message().removesuffix(".") or "a command is missing"
        return refuse(f"{message}; --help explains")
    except BaseException as error:  # a policy may raise what is no Exception
        if not interrupted:
            if sentence := _told(error):
                return refuse(sentence)
            if isinstance(error, SystemExit):
                return 0  # so rich and typer leave when nobody reads on, as in `| head`
            raise
        code = INTERRUPTED  # in the midst of building a validator, pydantic makes an error of its own of Ctrl+C
    if code == INTERRUPTED:
        complain("interrupted; what was written is whole")
    return int(code or 0)

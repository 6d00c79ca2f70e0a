"""The command line: one module a command."""

import sys

import typer

from app.cli import benchmark, scenario, simulate, trace
from simcore.errors import InputError

WRONG_INPUT = 2
INTERRUPTED = 130  # also what typer makes of Ctrl+C

app = typer.Typer(
    name="kvscope",
    help="A lab for the memory of LLM serving.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("simulate")(simulate.simulate)
app.add_typer(scenario.app, name="scenario")
app.add_typer(trace.app, name="trace")
app.add_typer(benchmark.app, name="benchmark")


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code. Wrong input is one sentence on standard error, and exit code 2."""
    command = typer.main.get_command(app)
    try:
        code = command.main(sys.argv[1:] if argv is None else argv, prog_name="kvscope", standalone_mode=False)
    except InputError as error:
        print(f"kvscope: {error}", file=sys.stderr)
        return WRONG_INPUT
    except typer.TyperException as error:
        print(f"kvscope: {error.format_message()}; --help explains", file=sys.stderr)
        return WRONG_INPUT
    if code == INTERRUPTED:
        print("kvscope: interrupted; what was written is whole", file=sys.stderr)
    return int(code or 0)

"""What the commands that need torch have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from simcore.errors import InputError

if TYPE_CHECKING:
    from engine.checkpoint import Checkpoint
    from engine.validate.calibrate import Clock

Model = Annotated[
    str,
    typer.Option(metavar="DIR", help="A folder in Hugging Face's layout, or the name of a model that comes along."),
]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
Dtype = Annotated[
    str | None, typer.Option(help="float16, bfloat16, float32 or float64; without it what config.json says.")
]
Threads = Annotated[int, typer.Option(min=0, max=1024, help="Of torch on the CPU; 0: as many as it takes by itself.")]
CpuClock = Annotated[
    bool,
    typer.Option(
        "--cpu-clock",
        help="Time steps by what the process worked, on one thread: for a CPU that others use at the same time.",
    ),
]
SHIPPED = "small-gqa"
EXTRA = {"torch", "safetensors", "tokenizers", "jinja2", "scipy"}
"""What the extra `engine` brings."""


@contextmanager
def needs_engine() -> Iterator[None]:
    """Say what to install where torch, or what comes with it, is missing, and where a device's memory is too small."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        raise InputError(
            f"{error.name} is not installed; pip install -e '.[engine]' in KVScope's folder brings all that models need"
        ) from None
    except RuntimeError as error:  # torch's own kind may not be imported here
        if type(error).__name__ != "OutOfMemoryError":
            raise
        raise InputError("the device has not enough memory for this; take fewer blocks, rows or tokens") from None


def load_model(model: str, device: str, dtype: str | None, threads: int, cpu_clock: bool) -> "tuple[Checkpoint, Clock]":
    """A model ready to run, and by which clock its steps are to be timed."""
    import torch

    from engine.checkpoint import find, load

    if cpu_clock and device != "cpu":
        raise InputError(f"--cpu-clock times a model on the CPU, and device is {device}")
    if cpu_clock or threads:
        torch.set_num_threads(1 if cpu_clock else threads)
    return load(find(model), dtype=dtype, device=device), "cpu" if cpu_clock else "wall"

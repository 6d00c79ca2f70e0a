"""The device that tensors live on."""

import torch

from simcore.errors import InputError
from simcore.schema import shown


def find_device(name: str) -> torch.device:
    """The device `cpu`, `cuda` or `cuda:N`. Raises InputError where this machine does not have it."""
    kind, colon, number = name.partition(":")
    if kind == "cpu" and not colon:
        return torch.device("cpu")
    if kind != "cuda" or (colon and not (number.isascii() and number.isdecimal())):
        raise InputError(f"device is {shown(name)}, but must be cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        raise InputError(f"device is {shown(name)}, but torch {torch.__version__} finds no CUDA device here")
    if colon and int(number) >= count:
        raise InputError(f"device is {shown(name)}, but the last CUDA device here is cuda:{count - 1}")
    return torch.device(name)

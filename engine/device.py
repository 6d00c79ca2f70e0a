"""The device that tensors live on."""

import os
from contextlib import suppress

import torch

from simcore.errors import InputError
from simcore.geometry import as_binary
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


def free_bytes(device: torch.device) -> int | None:
    """What is left of a device's memory; None where the system does not say."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    with suppress(AttributeError, ValueError, OSError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def expect_memory(needed: int, device: torch.device, what: str) -> None:
    """Raises InputError where work would take so many bytes and a device has no room for them."""
    free = free_bytes(device)
    if free is not None and needed > free:
        raise InputError(f"{what} would take {as_binary(needed)}, and {device} has {as_binary(free)} left; take less")

"""All families of policies, and how policies that do not come with the product join them."""

import sys
import warnings
from collections.abc import Iterable
from dataclasses import Field
from functools import cache
from hashlib import sha256
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from inspect import isabstract
from os.path import exists, samefile
from pathlib import Path
from traceback import extract_tb, walk_tb
from types import ModuleType
from typing import Any

from simcore.errors import InputError
from simcore.policies.admission import ADMISSION
from simcore.policies.allocation import ALLOCATOR, Allocator
from simcore.policies.base import Family, Policy
from simcore.policies.eviction import EVICTION
from simcore.policies.pruning import PRUNING
from simcore.policies.queue import QUEUE
from simcore.policies.victim import VICTIM

FAMILIES: dict[str, Family[Any]] = {
    "memory.eviction": EVICTION,
    "memory.admission": ADMISSION,
    "memory.allocator": ALLOCATOR,
    "scheduler.policy": QUEUE,
    "scheduler.victim": VICTIM,
    "pruning.policy": PRUNING,
}
"""The family of each key of a scenario that chooses a policy."""

_MODULE = "kvscope_policy_"
ENTRY_POINTS = "kvscope.policies"
"""The group of entry points by which an installed package offers policies."""


def key_of(policy: type[Policy]) -> str:
    """The key of a scenario that can choose a policy. Raises InputError where there is none."""
    for path, family in FAMILIES.items():
        if issubclass(policy, family.base):
            return path
    bases = ", ".join(family.base.__name__ for family in FAMILIES.values())
    raise InputError(f"policy {policy.__name__}: is of no family; it must be a subclass of one of {bases}")


def load_policies(file: Path) -> list[type[Policy]]:
    """Run a Python file and let the policies that it defines be chosen; those of each family in their order.

    It is code, which may do whatever it likes: only ever load what you would run. Raises InputError that names the file
    and the line where it cannot be run, or holds no whole policy.
    """
    module = _run(file)
    policies = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Policy) and each.__module__ == module.__name__
    ]
    chosen = [policy for policy in policies if policy.name]
    if not chosen:
        raise InputError(f"{file}: defines no policy: a subclass of Eviction or another family, with a name")
    for policy in chosen:
        try:
            _check(policy)
            FAMILIES[key_of(policy)].add(policy)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
    return chosen


def files_of(policies: Iterable[object]) -> list[Path]:
    """The files that some policies were loaded from, which another process has to load before it knows them."""
    modules = {type(policy).__module__ for policy in policies}
    files = [getattr(sys.modules[name], "__file__", None) for name in sorted(modules) if name.startswith(_MODULE)]
    return [Path(file) for file in files if file]


def blame(error: BaseException) -> str | None:
    """A sentence on an error that came out of a policy of a file: the file, the line and what Python says of it."""
    while error.__cause__ is not None:
        error = error.__cause__
    frames = list(walk_tb(error.__traceback__))
    for frame, line in reversed(frames):
        if str(frame.f_globals.get("__name__")).startswith(_MODULE):
            said = f"{type(error).__name__}: {error}"
            return f"{frame.f_code.co_filename}, line {line}, in {frame.f_code.co_name}: {said}"
    return None


@cache
def discover() -> None:
    """Let the policies of installed packages be chosen; one that cannot be loaded is warned of, and left out."""
    for point in entry_points(group=ENTRY_POINTS):
        try:
            policy = point.load()
            _check(policy)
            FAMILIES[key_of(policy)].add(policy)
        except Exception as error:
            warnings.warn(f"the policy {point.name} ({point.value}) is left out: {error}", stacklevel=2)


def _run(file: Path) -> ModuleType:
    if file.suffix != ".py":
        raise InputError(f"{file}: a policy is a Python file, with a name that ends in .py")
    if not file.is_file():
        raise InputError(f"{file}: there is no such file")
    name = f"{_MODULE}{sha256(str(file.resolve()).encode()).hexdigest()[:12]}"
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() among them, which must not end the program as if all were well
        lines = [
            frame.lineno
            for frame in extract_tb(error.__traceback__)
            if exists(frame.filename) and samefile(frame.filename, file)
        ]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        place = f"{file}, line {line}" if line else str(file)
        raise InputError(f"{place}: {type(error).__name__}: {error}") from None
    return module


def _check(policy: type[Policy]) -> None:
    """What Python would say much later, and in other words."""
    if issubclass(policy, Allocator):
        raise InputError(
            f"policy {policy.__name__}: an allocator needs a memory that carries it out, which no file can be"
        )
    if isabstract(policy):
        lacking = ", ".join(sorted(getattr(policy, "__abstractmethods__")))  # noqa: B009
        raise InputError(f"policy {policy.__name__}: lacks {lacking}")
    if any(isinstance(value, Field) for value in vars(policy).values()):
        raise InputError(f"policy {policy.__name__}: has parameters, but no @dataclass above it")

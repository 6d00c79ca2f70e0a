"""From safetensors files to the parameters of a model, and back.

https://huggingface.co/docs/safetensors: a header of JSON, then raw numbers. Nothing in it is ever executed.
"""

import re
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from engine.models import CausalLM, Source
from simcore.errors import InputError, UnsupportedError
from simcore.geometry import as_binary
from simcore.scenario.huggingface import read_json
from simcore.schema import shown

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"

FORMATS = ("F16", "BF16", "F32", "F64")
"""Of numbers that are weights as they are, as safetensors calls them."""

CONSTANTS = re.compile(r".+\.attn\.(masked_)?bias|.+\.rotary_emb\.inv_freq")
"""What older versions of transformers stored beside the weights."""

HEAD = "lm_head.weight"


class _Place(NamedTuple):
    """Where a tensor is stored."""

    path: Path
    file: Any
    """as safetensors opened it"""
    name: str
    """in the file"""

    @property
    def shape(self) -> list[int]:
        return list(self.file.get_slice(self.name).get_shape())

    @property
    def format(self) -> str:
        return str(self.file.get_slice(self.name).get_dtype())

    def read(self) -> Tensor:
        tensor: Tensor = self.file.get_tensor(self.name)
        return tensor


class StoredWeights:
    """The tensors in a folder, open for reading. All problems with them are InputErrors."""

    def __init__(self, folder: Path) -> None:
        self.listing = folder / (INDEX if (folder / INDEX).exists() and not (folder / FILE).exists() else FILE)
        self._stack = ExitStack()
        self._places: dict[str, _Place] = {}
        with ExitStack() as stack:
            if self.listing.name == FILE:
                self._open(self.listing, stack)
            else:
                for name, expected in _files(self.listing).items():
                    self._open(folder / name, stack, expected)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _open(self, path: Path, stack: ExitStack, expected: Collection[str] | None = None) -> None:
        """Note what is in a file; where an index expects some tensors in it, only those."""
        try:
            file = stack.enter_context(safe_open(path, framework="pt"))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
        except SafetensorError as error:
            reason = str(error).removeprefix("Error while deserializing header: ")
            raise InputError(f"{path}: is no safetensors file, or not all of one: {reason}") from None
        names = set(file.keys())
        self._places |= {name: _Place(path, file, name) for name in names & set(expected or names)}

    def fill(self, model: CausalLM, device: torch.device) -> None:
        """Give a model that was built on torch's meta device its weights, in its own format, on this device."""
        places = self._published(model)
        sources = model.sources()
        self._check(model, sources, places)
        whole = sum(parameter.numel() for parameter in model.parameters()) * model.shape.dtype.itemsize
        filled = {}
        for name, parameter in model.named_parameters():
            try:
                tensor = torch.empty(parameter.shape, dtype=model.shape.dtype, device=device)
            except RuntimeError:  # torch says so where memory is missing
                raise InputError(
                    f"{self.listing.parent}: the weights take {as_binary(whole)}, more than {device} has room for"
                ) from None
            parts = torch.split(tensor, [source.rows for source in sources[name]])
            for source, part in zip(sources[name], parts, strict=True):
                stored = places[source.name].read()
                part.copy_(stored.T if source.transposed else stored)
            filled[name] = nn.Parameter(tensor)
        model.load_state_dict(filled, assign=True)
        if HEAD in places and model.shape.tied and not torch.equal(places[HEAD].read(), self._table(model, places)):
            raise UnsupportedError(
                f"{self.listing.parent}: tie_word_embeddings is true, but {HEAD} is not the table of embeddings"
            )

    def _published(self, model: CausalLM) -> dict[str, _Place]:
        """The tensors by the names that they have in a model with a head."""
        if any(name.startswith(model.PREFIX) for name in self._places):
            return self._places
        return {name if name == HEAD else model.PREFIX + name: place for name, place in self._places.items()}

    def _table(self, model: CausalLM, places: dict[str, _Place]) -> Tensor:
        return places[model.sources()["embed.weight"][0].name].read()

    def _check(self, model: CausalLM, sources: dict[str, list[Source]], places: dict[str, _Place]) -> None:
        """Everything is there, nothing else is, and all of it has the shape that the configuration gives it."""
        needed = {}
        for name, parameter in model.named_parameters():
            for source in sources[name]:
                shape = [source.rows, *parameter.shape[1:]]
                needed[source.name] = shape[::-1] if source.transposed else shape
        known = needed.keys() | ({HEAD} if model.shape.tied else set())
        if missing := sorted(needed.keys() - places.keys()):
            raise InputError(f"{self.listing}: {_counted(missing)} missing, which config.json makes part of the model")
        if extra := sorted(name for name in places.keys() - known if not CONSTANTS.fullmatch(name)):
            raise InputError(f"{self.listing}: {_counted(extra)} there, which config.json makes no part of the model")
        for name, shape in needed.items():
            place = places[name]
            if place.shape != shape:
                raise InputError(f"{place.path}: {name} has the shape {place.shape}, but config.json makes it {shape}")
            if place.format not in FORMATS:
                raise UnsupportedError(
                    f"{place.path}: {name} has the format {place.format}, but must have one of {', '.join(FORMATS)}"
                )


def published(model: CausalLM) -> dict[str, Tensor]:
    """A model's parameters as they are published: one tensor for each matrix, under transformers' names."""
    parameters = dict(model.named_parameters())
    tensors = {}
    for name, sources in model.sources().items():
        parts = torch.split(parameters[name].detach(), [source.rows for source in sources])
        for source, part in zip(sources, parts, strict=True):
            tensors[source.name] = part.T if source.transposed else part
    return tensors


def _files(index: Path) -> dict[str, set[str]]:
    """The tensors that an index expects in each of its files."""
    listed = read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise InputError(f"{index}: weight_map is {shown(listed)}, but must be a table of the tensors and their files")
    found: dict[str, set[str]] = {}
    for name, file in listed.items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise InputError(
                f"{index}: weight_map has {shown(name)} in {shown(file)}, but it must be a safetensors file beside it"
            )
        found.setdefault(file, set()).add(name)
    return found


def _counted(names: list[str]) -> str:
    """The first of some tensors, and how many more there are."""
    more = f" and {len(names) - 1} more tensors are" if len(names) > 1 else " is"
    return f"{shown(names[0])}{more}"

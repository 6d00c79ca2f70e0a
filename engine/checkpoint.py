"""Models as folders, in the layout of Hugging Face: config.json, model.safetensors, tokenizer.json.

Weights are read by the safetensors library alone, never unpickled. Nothing is downloaded.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from engine import weights
from engine.device import find_device
from engine.models import CausalLM, ModelShape, build
from engine.models.config import read_shape, write_shape
from simcore.errors import InputError
from simcore.scenario.huggingface import read_json
from simcore.scenario.model import ModelSection
from simcore.schema import shown

CONFIG = "config.json"
GENERATION = "generation_config.json"
TOKENIZER = "tokenizer.json"

SHIPPED = "small-"
"""What the names of the models that come with the product begin with."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model that can run."""

    folder: Path
    model: CausalLM
    tokenizer: Tokenizer | None
    """None: the folder has none, and only ids are understood"""
    eos: frozenset[int]
    """the ids that end a sequence"""
    config: dict[str, Any]
    """as config.json has it"""

    @property
    def shape(self) -> ModelShape:
        """The model's numbers."""
        return self.model.shape

    @property
    def section(self) -> ModelSection:
        """The model as the simulator knows it, in the format in which it runs here."""
        dtype = str(self.shape.dtype).removeprefix("torch.")
        return ModelSection.model_validate(
            {
                "config": self.folder / CONFIG,
                "dtype": dtype,
                "kv_dtype": dtype,
                "max_model_len": self.shape.max_model_len,
            }
        )


def load(
    folder: Path, *, dtype: str | None = None, device: str = "cpu", max_model_len: int | None = None
) -> Checkpoint:
    """Read a model and what goes with it. Raises InputError where a file is not as it should be, or not known.

    dtype: the format to compute in, by default that of config.json. device: cpu, cuda or cuda:N. max_model_len: the
    tokens that a sequence may have, by default as many as the model has positions.
    """
    place = find_device(device)
    _expect_model(folder)
    config = read_json(folder / CONFIG)
    shape = read_shape(folder / CONFIG, config, dtype, max_model_len)
    with torch.device("meta"):
        model = build(shape)
    with weights.StoredWeights(folder) as stored:
        stored.fill(model, place)
    return Checkpoint(folder, model.to(place), _tokenizer(folder), _eos(folder, config), config)


def save(model: CausalLM, folder: Path, config: Mapping[str, Any] | None = None) -> None:
    """Write a model as `load` and transformers read it; `config` has keys of config.json besides those of the shape."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.contiguous().cpu() for name, tensor in weights.published(model).items()}
    save_file(tensors, folder / weights.FILE, metadata={"format": "pt"})
    text = json.dumps(write_shape(model.shape) | dict(config or {}), indent=2)
    (folder / CONFIG).write_text(f"{text}\n", encoding="utf-8", newline="\n")


def find(name: str) -> Path:
    """The folder of a model: one that comes with the product, by its name, or any, by its path."""
    shipped = {SHIPPED + folder.name: folder for folder in _shipped()}
    if name in shipped:
        return shipped[name]
    if not Path(name).is_dir():
        known = f" and none of {', '.join(shipped)}" if shipped else ""
        raise InputError(f"model is {shown(name)}, but that is no folder{known}")
    return Path(name)


def _shipped() -> list[Path]:
    place = Path(str(files("assets"))) / "trained"
    return sorted(config.parent for config in place.glob(f"*/{CONFIG}"))


def _expect_model(folder: Path) -> None:
    """Raises InputError where a folder has no model that could be read."""
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    if CONFIG not in names:
        raise InputError(f"{folder}: has no {CONFIG}, so it is no model in Hugging Face's layout")
    if names & {weights.FILE, weights.INDEX}:
        return
    if pickles := sorted(name for name in names if name.endswith((".bin", ".pt", ".pth"))):
        raise InputError(
            f"{folder}: has its weights in {pickles[0]}, a pickle, which could run any program and is never read; "
            "convert it with transformers: AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(OTHER)"
        )
    raise InputError(f"{folder}: has no weights, which would be {weights.FILE}, or {weights.INDEX} and its files")


def _tokenizer(folder: Path) -> Tokenizer | None:
    path = folder / TOKENIZER
    if not path.exists():
        return None
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no other
        raise InputError(f"{path}: is no tokenizer that is known: {error}") from None


def _eos(folder: Path, config: Mapping[str, Any]) -> frozenset[int]:
    """The ids that end a sequence: as generation_config.json says, otherwise as config.json does."""
    path, key = folder / GENERATION, "eos_token_id"
    given = read_json(path).get(key) if path.exists() else None
    if given is None:
        path, given = folder / CONFIG, config.get(key)
    ids = given if isinstance(given, list) else [] if given is None else [given]
    for value in ids:
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise InputError(f"{path}: {key} is {shown(value)}, but must be the id of a token, or a list of ids")
    return frozenset(ids)

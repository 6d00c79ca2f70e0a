"""The tokenizer of a folder in Hugging Face's layout, with its chat template."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from tokenizers import Tokenizer

from simcore.errors import InputError
from simcore.scenario.huggingface import read_json

FILE, CONFIG, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"


class FolderTokenizer:
    """Text and conversations to token ids, as a server of this folder's model makes them."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError where the folder has no tokenizer that can be read."""
        path = folder / FILE
        if not path.is_file():
            raise InputError(f"{folder}: has no {FILE}, so it is no tokenizer in Hugging Face's layout")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises no other
            raise InputError(f"{path}: is no tokenizer that is known: {error}") from None
        self._folder = folder
        config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
        source = _template(folder, config)
        self._template = None if source is None else _compiled(folder, source)
        self._special = {
            name: _token(config.get(name)) for name in ("bos_token", "eos_token", "pad_token", "unk_token")
        }

    @property
    def has_template(self) -> bool:
        """Whether the folder says how a conversation is put into one text."""
        return self._template is not None

    def text(self, text: str) -> list[int]:
        """See `simcore.workload.requestlog.Tokenizer.text`."""
        return list(self._tokenizer.encode(text).ids)

    def output(self, text: str) -> list[int]:
        """See `simcore.workload.requestlog.Tokenizer.output`."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def chat(self, messages: list[Any], tools: Any = None) -> list[int]:
        """By the folder's template, or without one as lines `role: content`, and `assistant:` at the end."""
        if self._template is None:
            return self.text("\n".join([*map(_line, messages), "assistant:"]))
        values = {name: token for name, token in self._special.items() if token is not None}
        try:
            text = self._template.render(messages=messages, tools=tools, add_generation_prompt=True, **values)
        except Exception as error:  # whatever a template may raise
            raise InputError(f"messages do not fit the chat template of {self._folder}: {error}") from None
        return self.output(text)  # the template has the special tokens


def _line(message: Mapping[str, Any]) -> str:
    role, content = message.get("role"), message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if not isinstance(role, str) or not isinstance(content, str):
        raise InputError("each of messages must have a role and a content that are texts")
    return f"{role}: {content}"


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    """The source of the template: a file of its own, or in the tokenizer's configuration."""
    try:
        return (folder / TEMPLATE).read_text(encoding="utf-8")
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{folder / TEMPLATE}: cannot be read: {error}") from None
    found = config.get("chat_template")
    if isinstance(found, list):  # several, by name
        found = next((each.get("template") for each in found if each.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _compiled(folder: Path, source: str) -> Any:
    """As transformers compiles it: sandboxed, since a template comes with a download."""
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> NoReturn:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except TemplateError as error:
        raise InputError(f"{folder}: its chat template is no template: {error}") from None


def _token(value: Any) -> str | None:
    """A special token, given as a text or as an object with its content."""
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) else None

"""`kvscope serve`: the calculator over HTTP, for a page or a script on the same machine."""

import socket
from html import escape
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.output import mention
from simcore.errors import InputError

if TYPE_CHECKING:
    from fastapi import FastAPI

HOST = "127.0.0.1"
LOCAL_PAGES = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
"""Pages that may ask: those of servers on this machine."""


def serve(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port on localhost; 0: any that is free.")] = 8000,
) -> None:
    """Answer GET /compare/memory on localhost, documented at /docs, until it is interrupted.

    Needs the extra `serve`: FastAPI and uvicorn.
    """
    api = make_api()
    import uvicorn

    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"--port {port} cannot be listened to: {reason}; choose another one") from None
    with listener:
        mention(f"http://{HOST}:{listener.getsockname()[1]}/docs", err=True)
        uvicorn.Server(uvicorn.Config(api, log_level="warning")).run(sockets=[listener])


def make_api() -> "FastAPI":
    """The HTTP interface. Raises InputError where FastAPI or uvicorn is not installed."""
    try:
        import uvicorn  # noqa: F401
        from fastapi import Depends, FastAPI, HTTPException, Query, Request
        from fastapi.middleware.cors import CORSMiddleware
        from fastapi.responses import HTMLResponse, RedirectResponse
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "uvicorn", "starlette"):
            raise
        raise InputError(
            f"{error.name} is not installed; pip install -e '.[serve]' in KVScope's folder brings what serve needs"
        ) from None
    from simcore.calculator import BLOCKS, Comparison, compare, model_of
    from simcore.geometry import fitting_block_size
    from simcore.scenario.presets import preset_names, read_preset

    def only_known(request: Request) -> None:
        """A misspelt name is told, since its default would look like an answer."""
        known = [parameter.name for parameter in request.scope["route"].dependant.query_params]
        for name in request.query_params:
            if name not in known:
                raise HTTPException(422, f"{name} is not known; {', '.join(known) or 'nothing'} can be asked")

    api = FastAPI(
        title="KVScope",
        dependencies=[Depends(only_known)],
        docs_url=None,  # FastAPI's own pages load their scripts from the internet
        redoc_url=None,
        summary="The memory of a KV cache: reserved for the longest sequence, and paged.",
        description="Sizes whose names end in `_mb` are in MiB, 2^20 bytes. The model's numbers, and all that is not "
        "asked here: `kvscope memory --json`.",
    )
    api.add_middleware(CORSMiddleware, allow_origin_regex=LOCAL_PAGES, allow_methods=["GET"])

    @api.get("/compare/memory", summary="Compare a reserved cache with a paged one")
    def compare_memory(
        sequence_length: Annotated[int, Query(ge=1, le=10**9, description="Tokens of each sequence now.")] = 128,
        max_seq_len: Annotated[int, Query(ge=1, le=10**9, description="Tokens reserved without pages.")] = 2048,
        block_size: Annotated[int, Query(ge=1, le=65_536, description="Tokens of a block.")] = 16,
        num_blocks: Annotated[int, Query(ge=1, le=10**9, description="Blocks of the pool.")] = BLOCKS,
        batch_size: Annotated[int, Query(ge=1, le=100_000, description="Sequences.")] = 1,
        model: Annotated[str, Query(description="A name or alias of /models.")] = "tinyllama-1.1b",
        num_layers: Annotated[int | None, Query(ge=1, le=100_000, description="In place of the model's.")] = None,
        num_heads: Annotated[int | None, Query(ge=1, le=10**6, description="KV heads, not the model's.")] = None,
        head_dim: Annotated[int | None, Query(ge=1, le=10**6, description="In place of the model's.")] = None,
        kv_dtype: Annotated[str | None, Query(description="float32, float16, bfloat16, float8 or int4.")] = None,
    ) -> Comparison:
        """`batch_size` sequences of `sequence_length` tokens, each with room for `max_seq_len`."""
        try:
            name = read_preset("models", model)["name"]  # no file: who asks may not read here
            shape = {"layers": num_layers, "kv_heads": num_heads, "head_dim": head_dim, "kv_dtype": kv_dtype}
            asked = model_of(name, **shape).resolve()
            size = fitting_block_size(asked, block_size)
            return compare(asked, (sequence_length,) * batch_size, max_seq_len, size, num_blocks)
        except InputError as error:
            raise HTTPException(422, str(error)) from None

    @api.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        """A page that needs nothing from outside."""
        return HTMLResponse(docs_page(api.openapi()))

    @api.get("/", include_in_schema=False)
    def root() -> RedirectResponse:
        """Whoever opens the address finds the documentation."""
        return RedirectResponse("/docs")

    @api.get("/models", summary="List the models that are known")
    def models() -> list[dict[str, Any]]:
        """Their names, aliases and a sentence on each."""
        known = (read_preset("models", name) for name in preset_names("models"))
        return [{key: preset[key] for key in ("name", "aliases", "description")} for preset in known]

    return api


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .2rem 1.2rem .2rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
:root { color-scheme: light dark; }
"""


def docs_page(schema: dict[str, Any]) -> str:
    """The OpenAPI document as HTML without scripts: each path, what can be asked and what is answered."""
    info = schema["info"]
    parts = [f"<h1>{escape(info['title'])}</h1><p>{escape(info['summary'])} {_prose(info['description'])}</p>"]
    for path, methods in schema["paths"].items():
        [(method, route)] = methods.items()
        parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
        parts.append(f"<p>{escape(route['summary'])}. {_prose(route['description'])}</p>")
        asked = route.get("parameters", [])
        if asked:
            inputs = "".join(_parameter(parameter) for parameter in asked)
            parts.append(f'<form action="{escape(path)}"><table>{inputs}</table><button>Ask</button></form>')
        else:
            parts.append(f'<p><a href="{escape(path)}">Ask</a></p>')
    fields = schema["components"]["schemas"]["Comparison"]["properties"]
    answered = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{_prose(field['description'])}" for name, field in fields.items()
    )
    parts.append(f"<h2>The fields of the comparison</h2><table>{answered}</table>")
    parts.append('<p>For programs: <a href="/openapi.json">openapi.json</a></p>')
    return f"<!doctype html><html lang=en><meta charset=utf-8><title>KVScope</title><style>{STYLE}</style>" + "".join(
        parts
    )


def _parameter(parameter: dict[str, Any]) -> str:
    """A row of the form. What has no default can be asked in the address; an empty field would be asked too."""
    name, value = escape(parameter["name"]), parameter["schema"].get("default")
    field = "in the address" if value is None else f'<input name="{name}" value="{escape(str(value))}">'
    return f"<tr><td><code>{name}</code><td>{field}<td>{_prose(parameter['description'])}"


def _prose(text: str) -> str:
    """HTML of a sentence with `code` in it."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))

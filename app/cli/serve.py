"""`kvscope serve`: the calculator over HTTP, for a page or a script on the same machine."""

import socket
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

    @api.get("/models", summary="List the models that are known")
    def models() -> list[dict[str, Any]]:
        """Their names, aliases and a sentence on each."""
        known = (read_preset("models", name) for name in preset_names("models"))
        return [{key: preset[key] for key in ("name", "aliases", "description")} for preset in known]

    return api

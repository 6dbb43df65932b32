"""`sluice serve`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.output import err, out
from sluice.config.settings import load_settings
from sluice.errors import Exit


def serve(
    audience: Annotated[str, typer.Option(help="Whose published version to serve.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 31337,
    certificate: Annotated[Path | None, typer.Option(help="TLS certificate chain, PEM.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    memory_mb: Annotated[int, typer.Option(min=64, help="Memory of all queries together.")] = 2048,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time of one query.")] = 60,
    queries: Annotated[int, typer.Option(min=1, help="Queries at the same time.")] = 8,
    issue: Annotated[
        str | None, typer.Option("--issue-token", metavar="NAME", help="Print a new token for somebody.")
    ] = None,
    revoke: Annotated[
        str | None, typer.Option("--revoke-token", metavar="NAME", help="End the validity of their token.")
    ] = None,
) -> None:
    """Serve an audience's published version to remote readers (Arrow Flight SQL)."""
    from sluice.config.audiences import load_policy
    from sluice.serve.query_process import Limits
    from sluice.serve.server import Server
    from sluice.serve.tokens import Tokens

    settings = load_settings()
    tokens = Tokens(settings.tokens)
    if issue:
        load_policy(settings.audiences).audience(audience)
        out.print(tokens.issue(audience, issue))
        return
    if revoke:
        tokens.revoke(audience, revoke)
        out.print(f"the token of {revoke} is not valid any more")
        return
    limits = Limits(memory_mb, seconds, queries)
    server = Server(
        settings,
        audience,
        host=host,
        port=port,
        certificate=certificate,
        private_key=private_key,
        limits=limits,
    )
    scheme = "grpc+tls" if certificate else "grpc"
    out.print(f"serving {audience} on {scheme}://{host}:{server.port}; Ctrl-C ends it")
    if not tokens.names(audience):
        err.print(f"nobody has a token yet: sluice serve --audience {audience} --issue-token NAME")
    has_ended = server.run()
    out.print("the server has ended")
    if not has_ended:
        sys.stdout.flush()
        os._exit(Exit.OK)  # clients that do not read are not waited for

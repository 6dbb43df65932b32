"""`sluice serve`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sluice.cli.completion import audiences
from sluice.cli.output import err, one_of, out
from sluice.cli.upgrade import say_other_engine
from sluice.config.settings import Settings, load_settings
from sluice.errors import Exit

LOG_ROWS = 50


def serve(
    audience: Annotated[
        str, typer.Option(help="Whose published version to serve.", autocompletion=audiences)
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 31337,
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
    log: Annotated[bool, typer.Option("--log", help="Show what readers did last.")] = False,
) -> None:
    """Serve an audience's published version to remote readers (Arrow Flight SQL)."""
    from sluice.config.audiences import load_policy
    from sluice.serve.query_process import Limits
    from sluice.serve.server import Server
    from sluice.serve.tokens import Tokens

    one_of({"--issue-token": issue, "--revoke-token": revoke, "--log": log or None})
    settings = load_settings()
    say_other_engine(settings)
    tokens = Tokens(settings.tokens)
    if revoke is not None:
        tokens.revoke(audience, revoke)
        out.print(f"the token of {revoke} is not valid any more")
        return
    load_policy(settings.audiences).audience(audience)
    if issue is not None:
        out.print(tokens.issue(audience, issue))
        return
    if log:
        _print_log(settings, audience)
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


def _print_log(settings: Settings, audience: str) -> None:
    from sluice.serve.audit import Audit

    rows = Audit(settings.serve_audit).rows(audience) if settings.serve_audit.exists() else []
    for row in rows[-LOG_ROWS:]:
        count = f" ({row['count']} times)" if row["count"] > 1 else ""
        parts = row["at"][:19], row["event"], row["who"], row["session"], row["detail"]
        out.print("  ".join(part for part in parts if part) + count, markup=False, highlight=False)
    if not rows:
        err.print(f"nothing was served to {audience} yet")

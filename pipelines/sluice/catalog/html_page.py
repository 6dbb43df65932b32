"""Writes the catalog as one HTML file that opens from disk and sends nothing anywhere.

The front end is kept as separate files in `front/`: a template, a style sheet and ES modules with named imports.
They are put together here, without a build step: each module becomes a function whose exports the modules after it
read. The data is gzipped, so that a project of 2,000 models takes a few megabytes, and the details of a table are
unpacked only when its page is opened.

A content security policy allows exactly this one script and no connection at all.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

FRONT = Path(__file__).parent / "front"
IMPORT = re.compile(r"^import \{([^}]*)\} from \"\./([\w-]+)\.js\";\n", re.MULTILINE)
EXPORT = re.compile(r"^export (?:async )?(?:function\*?|const|let|class) (\w+)", re.MULTILINE)
PART_BYTES = 300_000
"""Size of the parts that details are packed in: unpacking one takes a few milliseconds."""


def render(document: Mapping[str, Any]) -> str:
    """The page of a catalog document, as `build_document` makes it."""
    parts: list[list[str]] = [[]]
    size = 0
    positions = []
    for details in document["details"]:
        text = _json(details)
        if size + len(text) > PART_BYTES and parts[-1]:
            parts.append([])
            size = 0
        positions.append([len(parts) - 1, len(parts[-1])])
        parts[-1].append(text)
        size += len(text)
    core = {key: value for key, value in document.items() if key != "details"} | {"places": positions}
    contents = {"core": _json(core)} | {f"part-{i}": f"[{','.join(part)}]" for i, part in enumerate(parts)}
    with ThreadPoolExecutor() as pool:  # zlib lets other threads run
        blocks = list(pool.map(_block, contents, contents.values()))
    script = bundle()
    page = (FRONT / "page.html").read_text(encoding="utf-8")
    policy = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    filled = {
        "title": _escaped(str(document["project"]["name"])),
        "script-hash": f"sha256-{policy}",
        "style": (FRONT / "style.css").read_text(encoding="utf-8"),
        "data": "\n".join(blocks),
        "script": script,
    }
    return re.sub(r"<!--([a-z-]+)-->", lambda m: filled[m[1]], page)


def bundle() -> str:
    """All modules as one script, each after those it imports."""
    sources = {file.stem: file.read_text(encoding="utf-8") for file in sorted(FRONT.glob("*.js"))}
    done: list[str] = []

    def add(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            raise ValueError(f"modules import each other: {' > '.join((*trail, name))}")
        if name in done:
            return
        for match in IMPORT.finditer(sources[name]):
            add(match[2], (*trail, name))
        done.append(name)

    for name in sources:
        add(name, ())
    return '"use strict";\n' + "\n".join(_module(name, sources[name]) for name in done)


def _module(name: str, source: str) -> str:
    body = IMPORT.sub(
        lambda m: f"const {{{m[1].replace(' as ', ': ')}}} = module_{_identifier(m[2])};\n", source
    )
    if re.search(r"^import ", body, re.MULTILINE):
        raise ValueError(f'{name}.js: imports are written `import {{ a, b }} from "./file.js";`')
    names = EXPORT.findall(body)
    body = re.sub(r"^export ", "", body, flags=re.MULTILINE)
    return f"const module_{_identifier(name)} = (() => {{\n{body}\nreturn {{ {', '.join(names)} }};\n}})();"


def _identifier(name: str) -> str:
    return name.replace("-", "_")


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), default=str)


def _block(name: str, text: str) -> str:
    packed = base64.b64encode(gzip.compress(text.encode("utf-8"), 6, mtime=0)).decode()
    return f'<script type="text/plain" id="data-{name}">{packed}</script>'


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

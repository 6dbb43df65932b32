"""Copies of Parquet audiences in a folder or a bucket, for other engines.

<to>/<table>/<digest>/…parquet   content; a table that did not change is not sent again
<to>/versions/<version>.json     which content a version has
<to>/current.json                the version to read; replaced as a whole, after everything it names is there
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from sluice.config.audiences import Audience
from sluice.config.connections import Connections
from sluice.errors import ConnectionError
from sluice.publish.versions import Version, Versions
from sluice.system import group_number, share

OURS = re.compile(r"[^/]+/[0-9a-f]{16}/(.+/)?[^/]+\.parquet|versions/[0-9TZ.]+\.json(\.new)?")
"""Files that are removed once no version needs them; all others in that place belong to somebody else."""


class Mirror:
    """The copy of one audience; every method can be repeated after an interruption."""

    def __init__(self, audience: Audience, versions: Versions, root: Path, connections: Connections) -> None:
        import fsspec  # half a second with S3, and few projects have a mirror

        assert audience.to
        self.audience = audience.name
        self._audience = audience
        self._versions = versions
        if audience.to.startswith("s3://"):
            keys = connections.all(audience.connection) if audience.connection else {}
            endpoint = {"endpoint_url": keys.get("endpoint_url"), "region_name": keys.get("region")}
            self._store: Any = fsspec.filesystem(
                "s3",
                key=keys.get("access_key_id"),
                secret=keys.get("secret_access_key"),
                client_kwargs={k: v for k, v in endpoint.items() if v},
                skip_instance_cache=True,
                use_listings_cache=False,
            )
            self._base = audience.to.removeprefix("s3://").rstrip("/")
        else:
            self._store = fsspec.filesystem("file", auto_mkdir=True)
            self._base = str(root / audience.to)

    def send(self, version: Version, place: Path) -> None:
        """Copy the content of a version from the folder `place`; readers do not see it yet."""
        folder = place / self._audience.name
        tables = {}
        for name, table in version.audiences[self._audience.name].tables.items():
            files = sorted((folder / name).rglob("*.parquet"))
            sums = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
            names = [str(file.relative_to(folder / name)) for file in files]
            digest = hashlib.sha256(
                "".join(map("".join, zip(names, sums, strict=True))).encode()
            ).hexdigest()[:16]
            paths = [f"{name}/{digest}/{file}" for file in names]
            for file, path in zip(files, paths, strict=True):
                if self._size(path) != file.stat().st_size:
                    self._try(self._store.put_file, str(file), f"{self._base}/{path}")
            tables[name] = {"rows": table.rows, "fingerprint": table.fingerprint, "files": paths}
        self._write(f"versions/{version.version}.json", {"version": version.version, "tables": tables})

    def switch(self, version: str) -> None:
        """Let readers see `version`, and remove files that no kept version needs."""
        if not self._is_in(self._versions.read(version)):
            return
        kept = {name: self._read(f"versions/{name}.json") for name in self._versions.names}
        if kept.get(version) is None:
            self.send(self._versions.read(version), self._versions.path(version))
            kept[version] = self._read(f"versions/{version}.json")
        self._share()
        self._write("current.json", kept[version])
        needed = {
            f"{self._base}/{f}" for v in kept.values() if v for t in v["tables"].values() for f in t["files"]
        }
        needed |= {f"{self._base}/versions/{name}.json" for name in kept} | {f"{self._base}/current.json"}
        for path in self._try(self._store.find, self._base):
            if path not in needed and OURS.fullmatch(path.removeprefix(f"{self._base}/")):
                self._try(self._store.rm_file, path)

    def settle(self) -> None:
        """Finish a switch that was interrupted."""
        current = self._versions.current
        seen = self._read("current.json")
        is_new = current and (seen is None or seen["version"] != current)
        if current and is_new and self._is_in(self._versions.read(current)):
            self.switch(current)

    def _is_in(self, version: Version) -> bool:
        published = version.audiences.get(self._audience.name)
        return published is not None and published.format == "parquet"

    def _read(self, path: str) -> Any:
        if self._size(path) is None:
            return None
        return json.loads(self._try(self._store.cat_file, f"{self._base}/{path}"))

    def _write(self, path: str, value: Any) -> None:
        target = f"{self._base}/{path}"
        content = json.dumps(value, indent=2).encode()
        if "file" in self._store.protocol:
            self._store.pipe_file(f"{target}.new", content)
            self._share()
            self._store.mv(f"{target}.new", target)
        else:
            self._try(self._store.pipe_file, target, content)

    def _share(self) -> None:
        """Let the owner and the audience's group read the copy in a folder; a bucket has its own rules."""
        if "file" not in self._store.protocol:
            return
        group = group_number(self._audience.group) if self._audience.group else None
        base = Path(self._base)
        ours = [p for p in base.rglob("*") if OURS.fullmatch(p.relative_to(base).as_posix())]
        folders = {f for p in ours for f in p.parents if base in f.parents}
        for path in [*folders, *ours, *base.glob("current.json*"), *([base] if group is not None else [])]:
            share(path, group)

    def _size(self, path: str) -> int | None:
        try:
            return int(self._try(self._store.info, f"{self._base}/{path}")["size"])
        except FileNotFoundError:
            return None

    def _try(self, action: Any, *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except FileNotFoundError:
            raise
        except Exception as error:  # botocore, aiohttp and the operating system raise errors of their own
            from sluice.extract.unreachable import with_reason

            raise ConnectionError(
                f"{self._audience.name}: {self._audience.to} cannot be used: {with_reason(str(error), error)}"
            ) from None

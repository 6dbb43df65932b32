"""A folder with a wheel of the engine's version, as far as `sluice new` reads it."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest

from sluice import __version__

LOCK = "duckdb==1.5.5 \\\n    --hash=sha256:0123\n    # via sluice\n"


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    with ZipFile(folder / f"sluice-{__version__}-py3-none-any.whl", "w") as wheel:
        wheel.writestr("sluice/scaffold/requirements.lock", LOCK)
    return folder

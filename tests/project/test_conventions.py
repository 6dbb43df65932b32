"""The conventions that `sluice check` runs over this project have something to look at."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_there_are_models_of_every_layer() -> None:
    counts = {
        layer: len(list(ROOT.glob(f"models/{layer}/**/*.sql")))
        for layer in ("staging", "intermediate", "marts")
    }
    assert counts["intermediate"] + counts["marts"] > 10, counts
    assert counts["staging"] > 10, counts

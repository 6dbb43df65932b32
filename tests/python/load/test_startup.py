"""What makes a load begin sooner changes nothing of how it ends."""

from __future__ import annotations

import pytest

from sluice.load.startup import importing


def test_ctrl_c_while_dlt_makes_its_classes_is_ctrl_c() -> None:
    """Python 3.11 wraps what is raised in `__set_name__` in a RuntimeError, Ctrl-C too."""
    with pytest.raises(KeyboardInterrupt), importing("a_module_that_is_not_imported"):
        raise RuntimeError("Error calling __set_name__") from KeyboardInterrupt()


def test_other_errors_of_an_import_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="broken"), importing("a_module_that_is_not_imported"):
        raise RuntimeError("broken")

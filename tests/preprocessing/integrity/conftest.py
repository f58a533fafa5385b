"""What tests of damaged data share."""

from __future__ import annotations

import pytest

from preprocessing.integrity import diagnosis


@pytest.fixture(autouse=True)
def search_without_haste(monkeypatch) -> None:
    """Lets a search for damage end on a busy machine, too."""
    monkeypatch.setattr(diagnosis, "_MAX_SEARCH_SECS", 3600.0)

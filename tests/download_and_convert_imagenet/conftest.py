"""Where a conversion reads and writes."""

from __future__ import annotations

import pytest


@pytest.fixture
def raw(tmp_path):
    directory = tmp_path / "raw"
    directory.mkdir()
    return directory


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"

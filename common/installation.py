"""Where the modules and programs of this project are: in a checkout, or in an installed package.

`pip install` puts all rooms into one package, `tensorflow_imagenet` (setup.py). The name of every
module then begins with the name of that package.
"""

from __future__ import annotations

import sys
from pathlib import Path

_PREFIX = __name__.removesuffix("common.installation")
# The folder of the rooms, of programs such as train.py, and of recipes/.
HOME = Path(__file__).resolve().parents[1]
# The folder that has to be on the path of a Python that imports `module(...)`.
IMPORTED_FROM = HOME.parent if _PREFIX else HOME
# In messages: what brings the CUDA libraries, and what brings everything else.
GPU_SETUP = "pip install 'tensorflow-imagenet[gpu]'" if _PREFIX else "make setup GPU=1"
SETUP = "pip install tensorflow" if _PREFIX else "make setup"


def module(name: str) -> str:
    """Returns the name under which Python knows a module of this project here."""
    return _PREFIX + name


def program(name: str) -> list[str]:
    """Returns the command that starts a program of this project, for example "train"."""
    return [sys.executable, str(HOME / f"{name}.py")]

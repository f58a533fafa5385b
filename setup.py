"""Makes one package, `tensorflow_imagenet`, of the rooms and the programs of a checkout.

A checkout runs without installation: its rooms are imported as `common`, `models` and so on. In
site-packages such names would be anybody's, so they get into the package, and the sources that are
copied there import each other by their longer names. Messages name the installed commands:
`imagenet-train` in place of `python train.py`.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))  # a build front end runs this file from elsewhere

from tensorflow_imagenet.commands import COMMANDS

PACKAGE = "tensorflow_imagenet"
PROGRAMS = sorted(path.stem for path in ROOT.glob("*.py") if path.name != "setup.py")
ROOMS = sorted(
    path.parent.name
    for path in ROOT.glob("*/__init__.py")
    if path.parent.name not in (PACKAGE, "tests")
)
# Its instances run a checkout, whatever starts them.
NAMES_PROGRAMS_OF_A_CHECKOUT = "launch/ec2/"

_OURS = "|".join([*ROOMS, *PROGRAMS])
_IMPORT_FROM = re.compile(rf"^([ \t]*from )((?:{_OURS})(?:\.\w+)* import\b)", re.MULTILINE)
_IMPORT_AS = re.compile(rf"^([ \t]*import )((?:{_OURS})(?:\.\w+)* as \w+)$", re.MULTILINE)
_IMPORT = re.compile(rf"^([ \t]*)import ({_OURS})((?:\.\w+)*)$", re.MULTILINE)


def as_installed(source: str, path: str) -> str:
    """Returns a source file as it is in the package.

    Args:
        path: of the file, from the root of the checkout.
    """
    source = _IMPORT_FROM.sub(rf"\1{PACKAGE}.\2", source)
    source = _IMPORT_AS.sub(rf"\1{PACKAGE}.\2", source)
    source = _IMPORT.sub(
        lambda found: (
            f"{found[1]}from {PACKAGE} import {found[2]}"
            + (f"; import {PACKAGE}.{found[2]}{found[3]}" if found[3] else "")
        ),
        source,
    )
    for command, module in COMMANDS.items():
        if module not in PROGRAMS:
            source = re.sub(rf"python -m {re.escape(module)}(?![.\w])", command, source)
        elif not path.startswith(NAMES_PROGRAMS_OF_A_CHECKOUT):
            source = re.sub(rf"(?<![\w/.-])(?:python )?{module}\.py\b", command, source)
    return re.sub(rf"python -m (?=(?:{_OURS})\b)", f"python -m {PACKAGE}.", source)


class BuildPackage(build_py):
    """Copies the sources as they are in the package."""

    def run(self) -> None:
        """Copies everything, without what an earlier build has left there."""
        shutil.rmtree(Path(self.build_lib) / PACKAGE, ignore_errors=True)
        super().run()

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Returns (package, module, file) of each module; the programs are in the root here."""
        found = super().find_package_modules(package, package_dir)
        programs = PROGRAMS if package == PACKAGE else ()
        return [*found, *((package, name, f"{name}.py") for name in programs)]

    def build_module(self, module: str, module_file: str, package: str | tuple[str, ...]):
        """Writes a module into the build directory."""
        written, copied = super().build_module(module, module_file, package)
        source = Path(module_file).read_text(encoding="utf-8")
        path = Path(module_file).as_posix()
        Path(written).write_text(as_installed(source, path), encoding="utf-8")
        return written, copied


def packages() -> dict[str, str]:
    """Returns the folder of each package."""
    files = [path.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.*")]
    folders = sorted({path.parent for path in files if "__pycache__" not in path.parts})
    named = {".".join([PACKAGE, *folder.parts]): folder.as_posix() for folder in folders}
    return {PACKAGE: PACKAGE, **named}


if __name__ == "__main__":
    setup(
        packages=list(packages()),
        package_dir=packages(),
        package_data={"": ["*.txt", "*.md", "*.json", "*.flags"]},
        entry_points={
            "console_scripts": [f"{name} = {PACKAGE}.commands:main" for name in COMMANDS]
        },
        cmdclass={"build_py": BuildPackage},
    )

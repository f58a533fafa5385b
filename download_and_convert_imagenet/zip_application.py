"""Writes packages as one executable file.

    python3 zip_application.py OUTPUT MODULE PACKAGE,PACKAGE,... FILE...

The file is a zip archive with a first line that names the interpreter (PEP 441): Python can run
it, and so can the shell if `python3` is on the PATH. Equal sources give equal bytes: names are
sorted, times are fixed, nothing is compressed.

A build tool runs this file alone, on any Python from 3.7: it imports nothing of the package.
"""

from __future__ import annotations

import os
import sys
import zipfile
from collections.abc import Iterable, Sequence

_FIRST_LINE = b"#!/usr/bin/env python3\n"
_EARLIEST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_READABLE_FILE = 0o100644 << 16
# Runs before anything that an older Python could not even parse.
_MAIN = """\
import sys

if sys.version_info < (3, 10):
    sys.stderr.write(
        "error: this needs Python 3.10 or later; %s is %d.%d\\n"
        % (sys.executable, sys.version_info[0], sys.version_info[1])
    )
    sys.exit(2)

from {module} import main

if __name__ == "__main__":
    sys.exit(main())
"""


def write_zip_application(
    output: str, module: str, packages: Sequence[str], files: Iterable[str]
) -> None:
    """Puts the files of packages and a call of `module`'s main() into an executable file.

    Args:
        module: such as "package.module".
        packages: names of the top folders that are stored. A file is stored below the last of
            these folders in its path.

    Raises:
        ValueError: a file lies outside of the packages.
        OSError: a file cannot be read, or the output cannot be written.
    """
    contents = {"__main__.py": _MAIN.format(module=module).encode()}
    for path in files:
        folders = path.split("/")[:-1]
        last = max((i for i, folder in enumerate(folders) if folder in packages), default=None)
        if last is None:
            raise ValueError(f"{path} is not in a folder {' or '.join(packages)}")
        with open(path, "rb") as file:
            contents["/".join(path.split("/")[last:])] = file.read()
    with open(output, "wb") as file:
        file.write(_FIRST_LINE)
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(contents):
                entry = zipfile.ZipInfo(name, _EARLIEST_ZIP_TIME)
                entry.create_system = 3  # Unix, whatever this runs on
                entry.external_attr = _READABLE_FILE
                archive.writestr(entry, contents[name])
    os.chmod(output, 0o755)


def main(arguments: Sequence[str]) -> int:
    """Writes the file that the command line describes."""
    if len(arguments) < 4:
        print("usage: zip_application.py OUTPUT MODULE PACKAGE,... FILE...", file=sys.stderr)
        return 2
    output, module, packages, *files = arguments
    write_zip_application(output, module, packages.split(","), files)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

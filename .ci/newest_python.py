"""Prints the newest supported Python on this machine, if it is newer than the one that runs this; else nothing."""

import glob
import os
import shutil
import subprocess
import sys

MINORS = (12, 13)
PYENV = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))


def version_of(name):
    """Its version, or None: a shim may be there without its Python."""
    command = [name, "-c", "import sys; print(*sys.version_info[:3])"]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else None


names = [shutil.which(f"python3.{minor}") for minor in MINORS]
names += [name for minor in MINORS for name in glob.glob(f"{PYENV}/versions/3.{minor}.*/bin/python")]
versions = [(version, name) for name in filter(None, names) if (version := version_of(name))]
version, name = max(versions, default=((0, 0), ""))
print(name if version[:2] > sys.version_info[:2] else "")

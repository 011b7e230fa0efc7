"""The programs of other people that the viewer's tests need: found, or fetched once and checked."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]
CACHE = _ROOT / "out" / "viewer-programs"
ORTHANC_DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_DEADLINE_S = 300


class Unreachable(Exception):
    """A package registry did not answer, or does not have what was asked for."""


@dataclass(frozen=True)
class Package:
    """A package of the npm registry, at one version, with the SHA-256 of its tarball."""

    name: str
    version: str
    sha256: str

    @property
    def tarball(self) -> str:
        """What `npm pack` calls it."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


# Newer versions ask for a newer node than they need: a version must always be named.
OHIF = Package(
    "@ohif/app", "3.13.2", "b189d3963bfc58e9394a9db8c7be75d07beb029ec211dbb126d47b62969dd3f1"
)
PLAYWRIGHT = Package(
    "playwright-core", "1.65.1", "6f5a60be62a4fddfbe7d10c448d8fbd54547da3358f2f8a04211440471ee863e"
)


def missing() -> str:
    """Return which Debian packages are missing, as a line for people; empty where none is."""
    needed = {
        "chromium": shutil.which("chromium"),
        "nodejs": shutil.which("node"),
        "npm": shutil.which("npm"),
        "orthanc": shutil.which("Orthanc"),
        "orthanc-dicomweb": ORTHANC_DICOMWEB.exists(),
    }
    absent = [name for name, there in needed.items() if not there]
    return f"the viewer's tests need the Debian packages {', '.join(absent)}" if absent else ""


def path_of(program: str) -> str:
    """Return the path of a program that is there."""
    found = shutil.which(program)
    assert found is not None
    return found


def unpacked(package: Package) -> Path:
    """Return the folder of a package, fetched where it is not there yet.

    Raises
    ------
    Unreachable
        The registry did not give it.
    ValueError
        It gave something else.
    """
    folder = CACHE / package.tarball.removesuffix(".tgz")
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        tarball = _fetched(package)
        partly = folder.with_suffix(".partly")
        shutil.rmtree(partly, ignore_errors=True)
        with tarfile.open(tarball) as archive:
            archive.extractall(partly, filter="data")
        partly.rename(folder)  # whole, or not at all
    return folder / "package"


def _fetched(package: Package) -> Path:
    path = CACHE / package.tarball
    if not path.exists():
        asked = ["npm", "pack", f"{package.name}@{package.version}", "--pack-destination", CACHE]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_DEADLINE_S)
        if done.returncode:
            raise Unreachable(f"npm pack {package.name}: {done.stderr.strip()[-300:]}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package.sha256:
        path.unlink()
        raise ValueError(f"{path.name}: SHA-256 is {found}, expected {package.sha256}")
    return path

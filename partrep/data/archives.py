"""Reads the files of a folder, zip or tar, never writes one; refuses member names that point outside."""

from __future__ import annotations

import lzma
import os
import pathlib
import tarfile
import zipfile
import zlib

from partrep import UserError

DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")


class Archive:
    """Files of a folder, zip or tar by relative name: sorted `names` and `folders`, bytes by `read(name)`.

    Hidden files (a dot first) and `__MACOSX` are left out. Zips are read member by member, tars once into
    memory.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self._zip: zipfile.ZipFile | None = None
        self._tar: dict[str, bytes] = {}
        names, folders = self._list()
        self.names = sorted(name for name in names if not hidden(name))
        given = {name.rstrip("/") for name in folders}
        parents = {str(parent) for name in self.names for parent in pathlib.PurePosixPath(name).parents}
        self.folders = sorted(f for f in (given | parents) - {".", ""} if not hidden(f))

    def _list(self) -> tuple[list[str], list[str]]:
        if self.path.is_dir():
            return list_folder(self.path)
        if not self.path.exists():
            raise UserError(f"{self.path} does not exist; expected a folder, a zip or a tar")
        if self._is_tar():
            return self._open_tar()
        infos = self._open_zip().infolist()
        files, folders = ([checked(i.filename) for i in infos if i.is_dir() == wanted] for wanted in (False, True))
        return files, folders

    def _is_tar(self) -> bool:
        return self.path.name.lower().endswith(TAR_SUFFIXES)

    def _open_zip(self) -> zipfile.ZipFile:
        if self._zip is None:
            try:
                self._zip = zipfile.ZipFile(self.path)
            except (zipfile.BadZipFile, OSError) as error:
                raise UserError(
                    f"{self.path} is not readable ({error}); expected a folder, zip or tar"
                ) from None
        return self._zip

    def _open_tar(self) -> tuple[list[str], list[str]]:
        folders = []
        try:
            with tarfile.open(self.path) as tar:
                for member in tar:
                    name = checked(member.name)
                    if member.isdir():
                        folders.append(name)
                    elif member.isfile():  # links and devices hold no bytes of their own
                        self._tar[name] = tar.extractfile(member).read()  # type: ignore
                while tar.fileobj.read(1 << 20):  # type: ignore  # to the checksum at the end of a gzip file
                    pass
        except (tarfile.TarError, *DAMAGED) as error:
            raise UserError(f"{self.path} is not a readable tar ({error})") from None
        return list(self._tar), folders

    def read(self, name: str) -> bytes:
        """The bytes of one file; a damaged or encrypted one raises a `UserError` that names it."""
        if name in self._tar:
            return self._tar[name]
        try:
            if self.path.is_dir():
                return (self.path / name).read_bytes()
            if self._is_tar():
                raise KeyError(name)
            return self._open_zip().read(name)
        except (KeyError, FileNotFoundError):
            raise UserError(f"{self.path} holds no file {name}") from None
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, *DAMAGED) as error:
            raise UserError(f"{self.path}: {name} cannot be read ({error})") from None

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_zip": None}  # worker processes open their own handle


def list_folder(path: pathlib.Path) -> tuple[list[str], list[str]]:
    """Relative names of the files and of the folders below `path`; a linked folder is one, at its first place."""
    files: list[str] = []
    folders: list[str] = []
    seen = {path.resolve()}
    for root, below, here in os.walk(path, followlinks=True):
        relative = pathlib.Path(root).relative_to(path)
        places = {name: (pathlib.Path(root) / name).resolve() for name in sorted(below)}
        below[:] = [name for name, place in places.items() if place not in seen]  # a link to above has no end
        seen.update(places.values())
        files += [(relative / name).as_posix() for name in here]
        folders += [(relative / name).as_posix() for name in below]
    return files, folders


def checked(name: str) -> str:
    """Returns a member's name, or raises a `UserError` where it is absolute or climbs out by `..`.

    >>> checked("a/b.png")
    'a/b.png'
    """
    parts = name.replace("\\", "/").split("/")
    if not name or parts[0] == "" or ":" in parts[0] or ".." in parts:
        raise UserError(f"archive member {name!r} points outside; expected relative names without '..'")
    return name.removeprefix("./")


def hidden(name: str) -> bool:
    """True for `__MACOSX`, and for names with a component that starts with a dot."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))

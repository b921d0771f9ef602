"""Pickles of strangers, read without running them: only names of an allow-list are looked up."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from partrep import UserError

Allowed = Mapping[tuple[str, str], Any]
MEMO = {"BINPUT", "LONG_BINPUT", "PUT"}


class _Unpickler(pickle.Unpickler):
    """Looks globals up in a table and nowhere else."""

    def __init__(self, file: BinaryIO, allowed: Allowed, stored: Callable[[Any], Any] | None):
        super().__init__(file)
        self._allowed = allowed
        self._stored = stored

    def find_class(self, module: str, name: str) -> Any:
        """What the pickle calls `module.name`: an entry of the table."""
        if (module, name) not in self._allowed:
            raise UserError(f"the pickle asks for {module}.{name}, which is not allowed; expected plain data alone")
        return self._allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """What the pickle keeps outside of itself."""
        if self._stored is None:
            raise UserError("the pickle refers to data outside of it; expected plain data alone")
        return self._stored(pid)


def read_pickle(file: BinaryIO, allowed: Allowed, source: str, stored: Callable[[Any], Any] | None = None) -> Any:
    """Reads the one pickle at the file's position, and leaves the position behind it.

    A pickle is a program that names functions and calls them. Here a name means what `allowed` says, and any
    other name ends the reading before anything is called. Make the functions and classes of `allowed` anew for
    each file: a pickle can set attributes of what it is given.

    Arguments:
        file: binary, seekable.
        allowed: (module, name) as the pickle has them -> the object to use for it.
        source: what messages call the file.
        stored: the object of a persistent id; None where there are none.

    Raises:
        UserError: a name outside of `allowed`, or bytes that are no pickle, or only the beginning of one.

    >>> read_pickle(io.BytesIO(pickle.dumps({"a": [1, 2]})), {}, "a.pkl")
    {'a': [1, 2]}
    >>> import fractions
    >>> read_pickle(io.BytesIO(pickle.dumps(fractions.Fraction(1, 2))), {}, "a.pkl")
    Traceback (most recent call last):
    partrep.UserError: a.pkl: the pickle asks for fractions.Fraction, which is not allowed; expected plain data alone

    Source: own.
    """
    start = file.tell()
    try:
        program = _program(file)
        value = _Unpickler(io.BytesIO(program), allowed, stored).load()
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    except Exception as error:  # bytes of any kind can fail in any way
        found = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{source} holds a damaged pickle ({found}); expected a whole one") from None
    file.seek(start + len(program))
    return value


def _program(file: BinaryIO) -> bytes:
    """The bytes of one pickle, none of whose numbered places makes a table larger than the pickle itself."""
    start = file.tell()
    largest = max((int(arg or 0) for code, arg, _ in pickletools.genops(file) if code.name in MEMO), default=0)
    length = file.tell() - start
    if largest > length:
        raise UserError(f"a pickle of {length} bytes asks for {largest} places; expected no more than bytes")
    file.seek(start)
    return file.read(length)

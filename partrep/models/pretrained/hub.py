"""Files of the Hugging Face hub by name."""

from __future__ import annotations

import pathlib

from partrep import UserError

PREFIX = "hf:"


def local_file(path: str) -> pathlib.Path:
    """A path as it is; the file of `hf:OWNER/REPO[/FILE]` after it has been downloaded, or from the hub's cache.

    Arguments:
        path: FILE is `model.safetensors` where none is named.

    Raises:
        UserError: another form, a hub that cannot be reached or has no such file, no `huggingface_hub`.

    >>> local_file("weights/resnet50.pth").name
    'resnet50.pth'
    >>> local_file("hf:resnet50")
    Traceback (most recent call last):
    partrep.UserError: 'hf:resnet50' is no file of the hub; expected hf:OWNER/REPO or hf:OWNER/REPO/FILE

    Source: own.
    """
    if not path.startswith(PREFIX):
        return pathlib.Path(path)
    owner, _, rest = path.removeprefix(PREFIX).partition("/")
    repository, slash, name = rest.partition("/")
    if not owner or not repository or (slash and not name):
        raise UserError(f"{path!r} is no file of the hub; expected hf:OWNER/REPO or hf:OWNER/REPO/FILE")
    try:
        import huggingface_hub
    except ImportError:
        raise UserError(f"{path} needs huggingface_hub; expected it installed: pip install 'partrep[hub]'") from None
    try:
        found = huggingface_hub.hf_hub_download(repo_id=f"{owner}/{repository}", filename=name or "model.safetensors")
    except Exception as error:  # of the network, of the hub, of the cache
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be had ({reason}); expected a file of the hub") from None
    return pathlib.Path(found)

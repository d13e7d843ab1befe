"""The data root: the folder that holds datasets in torchvision's layout."""

import os
from pathlib import Path


def data_root(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """``data_dir``, or else ``$SCRATCHNET_DATA``, or else ``$XDG_CACHE_HOME/scratchnet`` (``~/.cache/scratchnet``).

    It need not exist.
    """
    if data_dir is not None:
        return Path(data_dir).expanduser()
    named = os.environ.get("SCRATCHNET_DATA")
    if named:
        return Path(named).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():  # the XDG specification: a relative path is to be ignored
        cache = Path("~/.cache").expanduser()
    return cache / "scratchnet"

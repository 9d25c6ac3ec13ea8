"""Which optional files of weights lie on this machine.

    python -m bench.weights                      lists them: where, SHA-256, licence, source
    python -m bench.weights check                also hashes those that are here
    python -m bench.weights check download=true  also fetches those that are missing

Nothing is downloaded unless `download=true` is typed. DINOv2 and CLIP are not in the list:
torch-fidelity 0.4 cannot read them from a local file.
"""

import sys
from collections.abc import Sequence

from models.weights import WEIGHT_FILES, WeightFile


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0, 1 for a file with a wrong hash or a failed download, 2 for a typo."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if any(argument in ("-h", "--help") for argument in arguments):
        print(__doc__)
        return 0
    unknown = [a for a in arguments if a not in ("check", "download=true", "download=false")]
    download = "download=true" in arguments
    if unknown or (download and "check" not in arguments):
        print(f"error: got {' '.join(arguments)}; known: check, check download=true")
        return 2
    statuses = [_status(file, "check" in arguments, download) for file in WEIGHT_FILES]
    for file, status in zip(WEIGHT_FILES, statuses, strict=True):
        print(_describe(file, status))
    return int(any(status.startswith(("wrong", "failed")) for status in statuses))


def _describe(file: WeightFile, status: str) -> str:
    return (
        f"{file.name}: {status}\n"
        f"  for      {file.used_for}\n"
        f"  path     {file.path}\n"
        f"  SHA-256  {file.sha256}\n"
        f"  licence  {file.licence}\n"
        f"  from     {file.url}"
    )


def _status(file: WeightFile, check: bool, download: bool) -> str:
    if not file.path.is_file():
        return _download(file) if download else "absent"
    if not check:
        return "present, not checked"
    found = file.sha256_found()
    return "present, intact" if found == file.sha256 else f"wrong SHA-256 {found}; delete the file"


def _download(file: WeightFile) -> str:
    """Fetches a file, which gets its name only if its hash is right."""
    from torch.hub import download_url_to_file

    file.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        download_url_to_file(file.url, str(file.path), hash_prefix=file.sha256, progress=False)
    except (OSError, RuntimeError) as error:
        return f"failed to download: {error}"
    return "downloaded, intact"


if __name__ == "__main__":
    sys.exit(main())

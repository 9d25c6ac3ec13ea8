"""Which optional files of weights lie on this machine.

    python -m bench.weights                      lists them: where, SHA-256, licence, source
    python -m bench.weights check                also hashes those that are here
    python -m bench.weights check download=true  also fetches those that are missing
    ... only=vit-b                               those with this text in their name, in any case

Nothing is downloaded unless `download=true` is typed. The publisher of DINOv2 gives no SHA-256: the
one found is shown, to be compared with that of others.
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
    only = [a.removeprefix("only=").lower() for a in arguments if a.startswith("only=")]
    words = [a for a in arguments if not a.startswith("only=")]
    download = "download=true" in words
    unknown = set(words) - {"check", "download=true", "download=false"}
    if unknown or (download and "check" not in words):
        print(f"error: got {' '.join(arguments)}; known: check, check download=true, only=TEXT")
        return 2
    files = [file for file in WEIGHT_FILES if all(text in file.name.lower() for text in only)]
    if not files:
        names = ", ".join(file.name for file in WEIGHT_FILES)
        print(f"error: no file has {' and '.join(only)} in its name; known: {names}")
        return 2
    statuses = [_status(file, "check" in words, download) for file in files]
    for file, status in zip(files, statuses, strict=True):
        print(_describe(file, status))
    return int(any(status.startswith(("wrong", "failed")) for status in statuses))


def _describe(file: WeightFile, status: str) -> str:
    return (
        f"{file.name}: {status}\n"
        f"  for      {file.used_for}\n"
        f"  path     {file.path}\n"
        f"  SHA-256  {file.sha256 or 'none published'}\n"
        f"  licence  {file.licence}\n"
        f"  from     {file.url}"
    )


def _status(file: WeightFile, check: bool, download: bool) -> str:
    if not file.path.is_file():
        return _download(file) if download else "absent"
    if not check:
        return "present, not checked"
    found = file.sha256_found()
    if not file.sha256:
        return f"present, SHA-256 {found}"
    return "present, intact" if found == file.sha256 else f"wrong SHA-256 {found}; delete the file"


def _download(file: WeightFile) -> str:
    """Fetches a file, which gets its name only if its hash is the published one, if any is."""
    from torch.hub import download_url_to_file

    file.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        download_url_to_file(
            file.url, str(file.path), hash_prefix=file.sha256 or None, progress=False
        )
    except (OSError, RuntimeError) as error:
        return f"failed to download: {error}"
    return "downloaded, intact" if file.sha256 else f"downloaded, SHA-256 {file.sha256_found()}"


if __name__ == "__main__":
    sys.exit(main())

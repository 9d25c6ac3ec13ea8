"""Which optional weight files are on this machine.

    python -m bench.weights                      lists them: where, SHA-256, licence, source
    python -m bench.weights check                also hashes the files that are here
    python -m bench.weights check download=true  also fetches the files that are missing
    ... only=vit-b                               files with this text in their name, in any case

It downloads nothing unless `download=true` is typed. The publisher of DINOv2 gives no SHA-256; the
command shows the one it finds, for comparison with others.
"""

import sys
from collections.abc import Sequence

from bench.command_line import Options, UsageError, did_you_mean, run_command
from models.weights import WEIGHT_FILES, WeightFile


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 0, 1 for a file with a wrong hash or a failed download, 2 for a typo."""
    return run_command(
        _run,
        help=__doc__,
        defaults={"check": "false", "only": "", "download": "false"},
        arguments=arguments,
    )


def _run(options: Options) -> int:
    check, download = options.switch("check"), options.switch("download")
    if download and not check:
        raise UsageError("download=true goes with check; type check download=true")
    only = options["only"].lower()
    files = [file for file in WEIGHT_FILES if only in file.name.lower()]
    if not files:
        raise UsageError(did_you_mean("file", only, [file.name for file in WEIGHT_FILES]))
    statuses = [_status(file, check, download) for file in files]
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
    """Fetches a file; it gets its name only if its hash matches the published one, if any."""
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

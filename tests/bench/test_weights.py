import hashlib
from dataclasses import replace

import pytest
import torch

from bench import weights
from models.weights import ALEXNET, VGG16


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two published files of known content, an empty hub folder, and no way out to the network."""

    def refuse(*args, **options):
        raise AssertionError("a download was tried")

    published = [
        replace(file, sha256=hashlib.sha256(file.name.encode()).hexdigest())
        for file in (ALEXNET, VGG16)
    ]
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(weights, "WEIGHT_FILES", published)
    return published


def put(file, content):
    file.path.parent.mkdir(parents=True, exist_ok=True)
    file.path.write_bytes(content)


def test_the_list_says_where_what_and_under_which_licence(files, capsys):
    put(files[0], b"unread")
    assert weights.main([]) == 0
    printed = capsys.readouterr().out
    for file in files:
        for fact in (str(file.path), file.sha256, file.licence, file.url):
            assert fact in printed
    assert "AlexNet: present, not checked" in printed
    assert "VGG16: absent" in printed


def test_check_tells_an_intact_file_from_a_wrong_one(files, capsys):
    put(files[0], b"AlexNet")
    assert weights.main(["check"]) == 0
    put(files[1], b"half a download")
    assert weights.main(["check"]) == 1
    printed = capsys.readouterr().out
    assert "AlexNet: present, intact" in printed
    assert f"VGG16: wrong SHA-256 {hashlib.sha256(b'half a download').hexdigest()}" in printed


def test_missing_files_are_fetched_only_on_request(files, monkeypatch, capsys):
    fetched = []

    def download(url, path, hash_prefix, progress):
        fetched.append((url, path, hash_prefix))

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    put(files[0], b"AlexNet")
    assert weights.main(["check", "download=false"]) == 0
    assert fetched == []
    assert weights.main(["check", "download=true"]) == 0
    assert fetched == [(files[1].url, str(files[1].path), files[1].sha256)]
    assert "VGG16: downloaded, intact" in capsys.readouterr().out


def test_a_failed_download_is_one_line_and_exit_code_1(files, monkeypatch, capsys):
    def fail(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    assert weights.main(["check", "download=true"]) == 1
    assert "VGG16: failed to download: no route to host" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["chekc"], ["download=true"], ["check", "download=yes"]])
def test_a_typo_is_refused_with_exit_code_2(arguments, files, capsys):
    assert weights.main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_only_chooses_by_a_part_of_the_name(files, capsys):
    assert weights.main(["only=alex"]) == 0
    printed = capsys.readouterr().out
    assert "AlexNet: absent" in printed
    assert "VGG16" not in printed
    assert weights.main(["check", "only=resnet"]) == 2
    assert "unknown file 'resnet'; known: AlexNet, VGG16" in capsys.readouterr().err


def test_a_file_without_a_published_hash_is_shown_with_its_own(files, monkeypatch, capsys):
    unhashed = replace(files[0], sha256="")
    monkeypatch.setattr(weights, "WEIGHT_FILES", [unhashed])
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda *_, **options: put(unhashed, b"fetched")
    )
    found = hashlib.sha256(b"fetched").hexdigest()
    assert weights.main(["check", "download=true"]) == 0
    assert f"AlexNet: downloaded, SHA-256 {found}" in capsys.readouterr().out
    assert weights.main(["check"]) == 0
    printed = capsys.readouterr().out
    assert f"AlexNet: present, SHA-256 {found}" in printed
    assert "SHA-256  none published" in printed

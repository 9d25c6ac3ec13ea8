import json
import math

import jaxtyping
import numpy as np
import pytest
import torch
from PIL import Image

from bench.score import score, score_function
from bench.score.__main__ import main

SIDE = 40


def picture(seed, shape=(SIDE, SIDE, 3)):
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


@pytest.fixture
def folders(tmp_path):
    """Three originals, their reconstructions one level off, and no output yet."""
    for role, change in (("reference", 0), ("reconstruction", 1)):
        (tmp_path / role / "sub").mkdir(parents=True)
        for number, name in enumerate(("a", "b", "sub/c")):
            Image.fromarray(picture(number) ^ change).save(tmp_path / role / f"{name}.png")
    return tmp_path


@pytest.fixture
def as_users_run(monkeypatch):
    """Switches the run-time shape checks off, so that a function's own errors are seen."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def save_archive(path):
    with path.open("wb") as file:
        np.savez(file, np.zeros((3, 1)))


def run(folder, *more):
    return main(
        [
            f"reference={folder / 'reference'}",
            f"reconstruction={folder / 'reconstruction'}",
            f"output={folder / 'scores'}",
            "extractor=scattering",
            "perceptual=none",
            *more,
        ]
    )


def refused(folder, capsys, *more):
    """Runs the command on bad input; its message."""
    assert run(folder, *more) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert not (folder / "scores").exists()
    return captured.err


def test_folders_are_scored_with_table_record_and_provenance(folders, capsys):
    assert run(folders) == 0
    (record_file,) = (folders / "scores").glob("*.json")
    record = json.loads(record_file.read_text())
    table = record_file.with_suffix(".md").read_text()
    assert table in capsys.readouterr().out
    expected = 20 * math.log10(255)  # every value is off by one
    assert record["metrics"]["psnr_db"] == pytest.approx(expected)
    assert record["per_image"]["l1"] == [1, 1, 1]
    assert f"| psnr_db | {expected:.6g} |" in " ".join(table.split())
    assert record["images"] == 3
    assert record["extractor"].startswith("scattering-v2-")
    assert len(record["evaluation_code_sha256"]) == 64
    assert len(record["score_code_sha256"]) == 64
    assert record["score_code_sha256"] != record["evaluation_code_sha256"]
    assert record["environment"]["packages"]["torch"]
    assert record["command"].startswith("python -m bench.score reference=")
    assert record["codebooks"] == []


def test_identical_folders_are_at_infinite_psnr_and_distance_zero(folders):
    assert (
        main(
            [f"{r}={folders / 'reference'}" for r in ("reference", "reconstruction")]
            + ["perceptual=none", "extractor=scattering", f"output={folders / 'scores'}"]
        )
        == 0
    )
    (record_file,) = (folders / "scores").glob("*.json")
    metrics = json.loads(record_file.read_text())["metrics"]
    assert metrics["psnr_db"] is None  # JSON has no infinity
    assert metrics["exact_images"] == 3
    assert metrics["ssim"] == pytest.approx(1)
    assert metrics["l1"] == 0
    assert metrics["fd_scattering_v2"] == pytest.approx(0, abs=1e-9)
    assert metrics["kid_scattering_v2"] == pytest.approx(0, abs=1e-9)


def test_another_reconstruction_gets_another_record(folders):
    assert run(folders) == 0
    Image.fromarray(picture(0) ^ 2).save(folders / "reconstruction/a.png")
    assert run(folders) == 0
    assert len(list((folders / "scores").glob("*.json"))) == 2


def test_indices_are_counted(folders):
    indices = np.arange(3 * 2 * 4, dtype=np.int32).reshape(3, 2, 4) % 5
    np.save(folders / "indices.npy", indices)
    assert run(folders, f"indices={folders / 'indices.npy'}", "codebook_sizes=5,8") == 0
    (record_file,) = (folders / "scores").glob("*.json")
    first, second = json.loads(record_file.read_text())["codebooks"]
    assert (first["codebook_size"], first["tokens"]) == (5, 12)
    assert second["used_codes"] == len(set(indices[:, 1].ravel().tolist()))


def test_names_without_a_partner_are_listed(folders, capsys):
    (folders / "reference/a.png").rename(folders / "reference/z.png")
    message = refused(folders, capsys)
    assert "2 problems" in message
    assert f"z: only in {folders / 'reference'}" in message
    assert f"a: only in {folders / 'reconstruction'}" in message


def test_another_size_is_listed_with_both(folders, capsys):
    Image.fromarray(picture(1, (SIDE, SIDE + 8, 3))).save(folders / "reconstruction/b.png")
    assert "b.png: 48 x 40 pixels, the first image has 40 x 40" in refused(folders, capsys)


def test_a_corrupt_file_16_bit_and_alpha_are_all_named_at_once(folders, capsys):
    (folders / "reference/a.png").write_bytes((folders / "reference/a.png").read_bytes()[:900])
    Image.fromarray(picture(1, (SIDE, SIDE)).astype(np.uint16) * 256).save(
        folders / "reference/b.png"
    )
    Image.fromarray(picture(2, (SIDE, SIDE, 4))).save(folders / "reconstruction/sub/c.png")
    message = refused(folders, capsys)
    assert "3 problems" in message
    assert "a.png: not readable as an image" in message
    assert "b.png: 16-bit values; store 8-bit RGB" in message
    assert "c.png: mode RGBA; store 8-bit RGB" in message


def test_no_files_and_one_file_are_refused(folders, capsys):
    for role in ("reference", "reconstruction"):
        (folders / role / "b.png").unlink()
        (folders / role / "sub/c.png").unlink()
    assert "at least 2 images, got 1" in refused(folders, capsys)
    (folders / "reference/a.png").unlink()
    assert "holds no image files" in refused(folders, capsys)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 1, 4), dtype=np.int64), "indices of 2 images for 3 images"),
        (np.zeros((3, 1, 4)), "must hold integers"),
        (np.full((3, 1, 4), 8), "index 8 lies outside codebook 0, expected 0 to 7"),
        (np.zeros((3, 2, 4), dtype=np.int64), "for 1 codebooks, got"),
        (np.zeros(3, dtype=np.int64), "of shape (images, codebooks, ...)"),
    ],
)
def test_wrong_indices_are_refused(array, message, folders, capsys):
    np.save(folders / "indices.npy", array)
    options = (f"indices={folders / 'indices.npy'}", "codebook_sizes=8")
    assert message in refused(folders, capsys, *options)


@pytest.mark.parametrize(
    ("store", "message"),
    [
        (lambda path: path.write_text("1 2 3"), "is not a whole .npy file of integers"),
        (lambda path: path.write_bytes(b""), "is not a whole .npy file of integers"),
        (
            lambda path: np.save(path, np.array([{}] * 3, dtype=object), allow_pickle=True),
            "is not a whole .npy file of integers",
        ),
        (save_archive, "is an archive of arrays"),
    ],
)
def test_a_file_without_an_array_of_indices_is_named(store, message, folders, capsys):
    store(folders / "indices.npy")
    options = (f"indices={folders / 'indices.npy'}", "codebook_sizes=8")
    assert f"{folders / 'indices.npy'} {message}" in refused(folders, capsys, *options)


def test_a_file_in_the_place_of_the_output_is_refused_before_anything_is_read(folders, capsys):
    (folders / "file").write_text("mine")
    (folders / "reference/a.png").write_text("not a picture")
    arguments = [f"{r}={folders / r}" for r in ("reference", "reconstruction")]
    assert main([*arguments, f"output={folders / 'file'}"]) == 2
    assert "is a file; expected a folder" in capsys.readouterr().err
    assert (folders / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("refrence=x", "did you mean 'reference='?"),
        ("codebook_sizes=8", "given together"),
        ("codebook_sizes=8,x", "codebook_sizes=x must be a whole number"),
        ("reference=again", "reference= is given twice"),
        ("indices=/nowhere.npy", "nowhere"),
    ],
)
def test_typos_are_refused(option, message, folders, capsys):
    assert message in refused(folders, capsys, option)


def test_a_missing_folder_is_named(capsys):
    assert main(["reference=/nowhere", "reconstruction=/nowhere"]) == 2
    assert "/nowhere" in capsys.readouterr().err
    assert main(["reference=/nowhere"]) == 2
    assert "reconstruction=DIR is missing" in capsys.readouterr().err


def test_a_function_scores_as_the_tensors_that_it_makes():
    images = torch.stack([torch.from_numpy(picture(n)).permute(2, 0, 1) for n in range(20)])
    options = {"extractor": "scattering", "perceptual": "none"}
    halved = score_function(lambda x: x / 2, images, **options)
    expected = ((images / 127.5 - 1) / 2 + 1) * 127.5
    assert halved == score(images, expected.round().byte(), **options)
    exact = score_function(lambda x: x, images, **options)
    assert exact.metrics["exact_images"] == 20


@pytest.mark.parametrize(
    ("reconstruct", "error", "message"),
    [
        (lambda x: (x,), TypeError, r"must give a tensor of images in \[-1, 1\], got tuple"),
        (lambda x: x[:, :, ::2], ValueError, r"gave \(4, 3, 20, 40\); expected one"),
        (lambda x: x[:1], ValueError, r"gave \(1, 3, 40, 40\); expected one"),
    ],
)
def test_a_function_that_gives_no_reconstructions_is_refused(
    reconstruct, error, message, as_users_run
):
    images = torch.zeros(4, 3, SIDE, SIDE, dtype=torch.uint8)
    with pytest.raises(error, match=message):
        score_function(reconstruct, images, extractor="scattering", perceptual="none")


def test_originals_that_are_no_bytes_are_refused_before_the_function_runs(as_users_run):
    def never(batch):
        raise AssertionError("it must not run")

    with pytest.raises(TypeError, match="original images must be uint8"):
        score_function(never, torch.zeros(4, 3, SIDE, SIDE))

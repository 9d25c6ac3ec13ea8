import pytest
from PIL import Image

from bench.data import DataError, ImageError, image_files, load_data, test_images, training_batches
from bench.data.folder import _for_test


def open_folder(root, size=32):
    return load_data("folder", image_size=size, root=str(root))


@pytest.fixture
def sorted_folder(tmp_path, write):
    write(tmp_path, "train/a.png", "train/deep/b.jpg", "train/c.PNG", "test/d.png")
    return tmp_path


def test_train_and_test_folders_are_the_split(sorted_folder):
    data = open_folder(sorted_folder)
    assert data.train.names == ["train/a.png", "train/c.PNG", "train/deep/b.jpg"]
    assert data.test.names == ["test/d.png"]
    assert test_images(data.test).shape == (1, 3, 32, 32)


def test_val_serves_where_there_is_no_test(tmp_path, write):
    write(tmp_path, "train/a.png", "val/b.png")
    assert open_folder(tmp_path).test.names == ["val/b.png"]


def test_other_files_are_ignored_and_counted(sorted_folder):
    for name in ("notes.txt", "train/labels.csv", "train/._a.png"):
        (sorted_folder / name).write_text("no image")
    data = open_folder(sorted_folder)
    assert len(data.train) == 3
    assert "3 other files ignored" in data.description
    assert "every file decoded" in data.description


def test_one_heap_is_split_by_path_alone(tmp_path, write):
    names = [f"{number}.png" for number in range(60)]
    write(tmp_path, *names)
    data = open_folder(tmp_path)
    assert sorted(data.train.names + data.test.names) == sorted(names)
    assert all(_for_test(name) for name in data.test.names)
    write(tmp_path, "another.png")
    assert set(open_folder(tmp_path).test.names) - {"another.png"} == set(data.test.names)


def test_one_path_in_ten_is_for_the_test():
    assert sum(_for_test(f"{number}.png") for number in range(10_000)) == pytest.approx(
        1000, abs=120
    )


def test_a_heap_too_small_to_split_says_what_to_do(tmp_path, write):
    write(tmp_path, "0.png")
    with pytest.raises(DataError, match=r"at least one of each; .* train/ and test/"):
        open_folder(tmp_path)


def test_train_without_test_is_refused(tmp_path, write):
    write(tmp_path, "train/a.png")
    with pytest.raises(DataError, match="neither test/ nor val/"):
        open_folder(tmp_path)


def test_all_bad_files_are_in_one_error_ten_by_name(sorted_folder, write):
    for number in range(12):
        (sorted_folder / f"train/bad{number:02}.jpg").write_text("no image")
    write(sorted_folder, "test/bad_small.png", side=31)
    with pytest.raises(DataError) as error:
        open_folder(sorted_folder)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("13 of 17 image files cannot be used")
    assert len(lines) == 12
    assert str(sorted_folder / "train/bad00.jpg") in lines[1]
    assert lines[-1].strip() == "... and 3 more"
    (sorted_folder / "train/bad00.jpg").unlink()


def test_a_small_image_is_refused_with_its_path(sorted_folder, write):
    write(sorted_folder, "train/small.png", side=31)
    with pytest.raises(
        DataError, match=r"train/small\.png: 31 x 31 is smaller than the crop of 32"
    ):
        open_folder(sorted_folder)


def test_many_files_are_checked_by_header(monkeypatch, sorted_folder):
    monkeypatch.setattr(image_files, "MAX_DECODED", 3)
    path = sorted_folder / "train/a.png"
    path.write_bytes(path.read_bytes()[:1000])
    data = open_folder(sorted_folder)
    assert "headers checked" in data.description
    with pytest.raises(ImageError, match=r"train/a\.png: cannot be decoded"):
        data.train.image(0, 1)


def test_a_file_lost_during_training_is_named_by_the_main_process(sorted_folder):
    data = open_folder(sorted_folder)
    (sorted_folder / "train/a.png").unlink()
    with pytest.raises(ImageError, match=r"train/a\.png: does not exist"):
        for _ in training_batches(
            data.train,
            batch_size=3,
            start_step=0,
            stop_step=2,
            data_seed=0,
            augment_seed=0,
            workers=1,
        ):
            pass


def test_the_fingerprint_follows_content_names_size_and_split(sorted_folder):
    seen = {open_folder(sorted_folder).fingerprint}
    assert open_folder(sorted_folder).fingerprint in seen
    seen.add(open_folder(sorted_folder, size=16).fingerprint)
    pixels = Image.new("RGB", (40, 40))
    pixels.save(sorted_folder / "test/d.png")
    seen.add(open_folder(sorted_folder).fingerprint)
    (sorted_folder / "train/a.png").rename(sorted_folder / "train/e.png")
    seen.add(open_folder(sorted_folder).fingerprint)
    (sorted_folder / "train/e.png").rename(sorted_folder / "test/e.png")
    seen.add(open_folder(sorted_folder).fingerprint)
    assert len(seen) == 5

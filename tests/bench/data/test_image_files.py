from bench.data import image_files


def test_large_folders_are_identified_by_names_and_sizes(monkeypatch, tmp_path):
    monkeypatch.setattr(image_files, "MAX_HASHED", 3)
    (tmp_path / "a.png").write_bytes(b"1234")
    digest = image_files.files_digest(tmp_path, ["a.png"])
    (tmp_path / "a.png").write_bytes(b"4321")
    assert image_files.files_digest(tmp_path, ["a.png"]) == digest
    (tmp_path / "a.png").write_bytes(b"54321")
    assert image_files.files_digest(tmp_path, ["a.png"]) != digest


def test_images_are_listed_in_one_order_with_forward_slashes(tmp_path, write):
    write(tmp_path, "b.png", "a/z.JPG", "a.png", "a/.hidden.png")
    names, ignored = image_files.list_images(tmp_path)
    assert names == ["a.png", "a/z.JPG", "b.png"]
    assert ignored == 1

"""Finished files copied to a store."""

import json
import shutil

import fsspec
import pytest

import modjax as mj
from modjax.io.files import sha256_of
from modjax.store.copies import check_target, copy_finished, finished_files


@pytest.fixture
def copy(finished, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(finished.paths.root, out)
    return mj.open_sweep(out).paths


def files_at(url):
    store, root = fsspec.url_to_fs(url)
    return {path.removeprefix(root).strip("/"): store.cat_file(path) for path in store.find(root)}


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_copy_is_the_finished_directory_and_only_changes_travel_again(copy, tmp_path, kind):
    url = f"file://{tmp_path / 'store'}" if kind == "file" else f"memory://store-{tmp_path.name}"
    (copy.root / ".left.tmp").touch()
    check_target(url)
    copied = copy_finished(copy, url)
    assert copied == finished_files(copy)
    assert str(copied[-1]) == "manifest.json"
    assert files_at(url) == {str(name): (copy.root / name).read_bytes() for name in copied}
    assert copy_finished(copy, url) == []
    manifest = json.loads(copy.manifest.read_text())
    copy.manifest.write_text(json.dumps({**manifest, "seconds": 1.0}))
    assert [str(name) for name in copy_finished(copy, url)] == ["manifest.json"]


def test_copy_is_a_sweep(copy, tmp_path):
    copy_finished(copy, f"file://{tmp_path / 'store'}")
    sweep = mj.open_sweep(tmp_path / "store")
    assert sweep.trials.height == 9
    assert mj.verify_sweep(sweep.paths.root).is_whole


def test_interrupted_copy_has_no_manifest_and_goes_on(copy, tmp_path, monkeypatch):
    from modjax.store import copies

    url = f"file://{tmp_path / 'store'}"
    copy_finished(copy, url)
    manifest = json.loads(copy.manifest.read_text())
    copy.table("trials").write_bytes(b"new rows")
    manifest["checksums"]["trials.parquet"] = sha256_of(copy.table("trials"))
    copy.manifest.write_text(json.dumps(manifest))

    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(copies, "_put", stop)
    with pytest.raises(KeyboardInterrupt):
        copy_finished(copy, url)
    assert "manifest.json" not in files_at(url)
    monkeypatch.undo()
    assert {str(name) for name in copy_finished(copy, url)} == {"trials.parquet", "manifest.json"}


def test_sweep_is_copied_when_it_is_complete(copy, finished, tmp_path):
    spec = finished.paths.root.parent / "spec.toml"
    mj.run_sweep(spec, copy.root, is_quiet=True, copy_to=f"file://{tmp_path / 'store'}")
    assert mj.open_sweep(tmp_path / "store").trials.height == 9


def test_stores_that_are_not_there(finished, tmp_path):
    spec = finished.paths.root.parent / "spec.toml"
    with pytest.raises(ValueError, match="copy_to: cannot use 'nonsense://x'"):
        mj.run_sweep(spec, tmp_path / "out", copy_to="nonsense://x")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write to"):
        mj.run_sweep(spec, tmp_path / "out", copy_to=f"file://{tmp_path / 'file'}")
    assert not (tmp_path / "out").exists()

"""A `LazyArray` is the array that it stands for, and reads no more of the file than it must."""

import mmap
import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import phosphene.eeg.lazy as lazy
from phosphene.eeg.lazy import LazyArray, chunks, stays
from phosphene.errors import PhospheneError

DTYPES = [np.float16, np.float32, np.float64, np.int16, ">f4"]


def made(shape, dtype=np.float64, seed=0):
    return (100 * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def mapped(path, array):
    np.save(path, array)
    return np.load(path, mmap_mode="r")


# -- as numpy ------------------------------------------------------------------------------------


@st.composite
def views(draw):
    """A LazyArray after some views, and the plain array after the same."""
    n_chans, n_times = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    parts = []
    for i in range(draw(st.integers(1, 3))):
        lead = draw(st.sampled_from([(3,), (2, 2), (0,), (1, 2, 2), (5,)]))
        parts.append(made((*lead, n_chans, n_times), draw(st.sampled_from(DTYPES)), i))
    plain = np.concatenate([p.reshape(-1, n_chans, n_times).astype(np.float32) for p in parts])
    view = LazyArray(parts if draw(st.booleans()) else [LazyArray(p) for p in parts])
    for _ in range(draw(st.integers(0, 4))):
        n = len(plain)
        step = draw(st.sampled_from(["take", "mask", "cut", "multiply", "mean", "apply", "join"]))
        if step == "take" and n:
            rows = np.array(draw(st.lists(st.integers(-n, n - 1), max_size=8)), int)
            view, plain = view.rows(rows), plain[rows]
        elif step == "mask":
            mask = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
            view, plain = view.rows(mask), plain[mask]
        elif step == "cut":
            chans = np.array(draw(st.lists(st.integers(0, plain.shape[1] - 1), min_size=1, max_size=4)))
            times = slice(draw(st.integers(0, plain.shape[2] - 1)), None)
            view, plain = view.chans(chans).times(times.start, None), plain[:, chans, times]
        elif step == "multiply":
            k = made((2, plain.shape[1], plain.shape[1]), np.float32, 7) / 100
            which = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), int)
            view = view.map(lambda x, rows, k=k, which=which: k[which[rows]] @ x)
            plain = np.stack([k[w] @ x for w, x in zip(which, plain, strict=True)]) if n else plain
        elif step == "mean" and n:
            _, groups = np.unique(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), return_inverse=True)
            sums = np.zeros((groups.max() + 1, *plain.shape[1:]))
            np.add.at(sums, groups, plain)
            view = view.means(groups)
            plain = (sums / np.bincount(groups)[:, None, None]).astype(np.float32)
        elif step == "apply":
            view, plain = view.map(lambda x, rows: x[:, :, ::-1] + 1), plain[:, :, ::-1] + np.float32(1)
        elif step == "join":
            view, plain = LazyArray([view, plain], scale=0.5), np.concatenate([plain, plain]) * np.float32(0.5)
    return view, plain


def indices(n):
    return st.one_of(
        st.slices(n),
        st.lists(st.integers(-n, n - 1), max_size=5).map(lambda x: np.array(x, int)) if n else st.slices(n),
        st.integers(-n, n - 1) if n else st.slices(n),
        st.lists(st.booleans(), min_size=n, max_size=n).map(lambda x: np.array(x, bool)),
    )


@settings(max_examples=150)
@given(views(), st.data())
def test_it_is_indexed_as_the_plain_array(pair, data):
    view, plain = pair
    assert (view.shape, view.ndim, view.dtype, len(view)) == (plain.shape, 3, np.float32, len(plain))
    assert view.nbytes == plain.nbytes
    np.testing.assert_allclose(np.asarray(view), plain, rtol=1e-5, atol=1e-3)
    first = data.draw(indices(len(plain)))
    np.testing.assert_allclose(view[first], plain[first], rtol=1e-5, atol=1e-3)
    second, third = data.draw(indices(plain.shape[1])), data.draw(indices(plain.shape[2]))
    for index in ((first, second), (first, slice(None), third), (first, second, third), (..., third)):
        try:
            want = plain[index]
        except IndexError:
            with pytest.raises(IndexError):
                view[index]
        else:
            got = view[index]
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-3)


@settings(max_examples=30)
@given(views(), st.integers(1, 400))
def test_the_size_of_the_chunks_changes_nothing(pair, n_bytes):
    view, _ = pair
    whole = np.asarray(view)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy._step, "__defaults__", (n_bytes,))
        np.testing.assert_array_equal(np.asarray(view), whole)
        parts = [some for _, some in chunks(view, n_bytes)]
    np.testing.assert_array_equal(np.concatenate(parts) if parts else whole, whole)
    np.testing.assert_array_equal(np.array(list(view)).reshape(whole.shape), whole)


def test_means_are_summed_as_in_memory_bit_for_bit():
    x = made((500, 3, 20), np.float32)
    groups = np.random.default_rng(1).integers(0, 7, 500)
    sums = np.zeros((7, 3, 20))
    np.add.at(sums, groups, x)
    want = (sums / np.bincount(groups)[:, None, None]).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(LazyArray(x).means(groups)), want)


def test_scale_is_applied_before_rounding():
    counts = np.arange(24, dtype=np.int32).reshape(2, 3, 4) + 2**24
    np.testing.assert_array_equal(np.asarray(LazyArray(counts, 0.5)), (counts * 0.5).astype(np.float32))


def test_what_is_read_is_a_copy():
    x = made((4, 2, 3), np.float32)
    view = LazyArray(x)
    for got in (view[:], view[1:3], view[0], np.asarray(view)):
        got[:] = 0
    np.testing.assert_array_equal(view[:], x)
    with pytest.raises(TypeError):
        view[0] = 1
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(view, copy=False)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "at least one part"),
        (np.zeros((3, 4)), "n_trials, n_chans, n_times"),
        (np.zeros((3, 4, 5), complex), "real numbers"),
        (np.zeros((3, 4, 5), object), "real numbers"),
        ([np.zeros((3, 4, 5)), np.zeros((3, 4, 6))], "differ in channels or samples"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, message):
    with pytest.raises(PhospheneError, match=message):
        LazyArray(parts)
    with pytest.raises(PhospheneError, match="no gaps"):
        LazyArray(np.zeros((3, 1, 1))).means(np.array([0, 2, 2]))
    with pytest.raises(IndexError, match="three axes"):
        LazyArray(np.zeros((3, 1, 1)))[0, 0, 0, 0]
    with pytest.raises(IndexError):
        LazyArray(np.zeros((3, 1, 1)))[3]


# -- files ---------------------------------------------------------------------------------------


def test_on_disk_is_told_from_memory(tmp_path):
    x = mapped(tmp_path / "x.npy", made((4, 2, 3)))
    assert stays(x)
    assert stays(x[1:, :, ::2])
    assert stays(np.asarray(x).reshape(2, 2, 2, 3))
    assert stays(LazyArray([np.zeros((1, 2, 3)), x]).rows([0]))
    assert not stays(LazyArray(np.zeros((1, 1, 1))))
    assert not stays(np.array(x))
    assert not stays(np.zeros((4, 2, 3))[1:])


def test_a_file_in_another_order_of_axes_is_not_copied(tmp_path):
    """(n_repeats, n_images, ...) seen as (n_images, n_repeats, ...) cannot be flattened without a copy."""
    x = mapped(tmp_path / "x.npy", made((2, 3, 4, 5)))
    np.testing.assert_array_equal(
        np.asarray(LazyArray(x.swapaxes(0, 1))), np.array(x.swapaxes(0, 1)).reshape(6, 4, 5).astype(np.float32)
    )


def huge(path, n_trials=80_000, n_chans=64, n_times=512):
    """A file of 10 to 20 GB that takes no room: all holes."""
    with path.open("wb") as file:
        file.truncate(8 * n_trials * n_chans * n_times)
    return np.memmap(path, np.float64, "r", shape=(n_trials // 4, 4, n_chans, n_times))


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.fixture
def sparse(tmp_path):
    eeg = huge(tmp_path / "huge.bin")
    if (tmp_path / "huge.bin").stat().st_blocks * 512 > 1 << 20:
        pytest.skip("this file system keeps no sparse files")
    return eeg


def test_a_batch_of_a_huge_file_reads_that_batch(sparse):
    view = LazyArray(sparse, 1e-6).chans(np.arange(17)).times(50, 300)
    view = view.map(lambda x, rows: np.eye(17, dtype=np.float32) @ x).means(np.arange(len(view)) // 4)
    assert view.shape == (20_000, 17, 250)
    rng = np.random.default_rng(0)
    import tracemalloc

    tracemalloc.start()
    assert view[rng.integers(0, len(view), 64)].shape == (64, 17, 250)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32e6


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="pages are given back where the system can")
def test_pages_that_were_read_are_given_back(sparse, monkeypatch):
    monkeypatch.setattr(lazy, "_RESIDENT", 1 << 24)
    view = LazyArray(sparse[:, :1])  # as a reader may hand it on
    before, most = resident(), 0
    for start in range(0, 1000, 50):  # 262 MB, and their neighbours
        view[start : start + 50]
        most = max(most, resident() - before)
    assert most < 128e6  # the system maps neighbours too


def test_a_map_that_may_be_written_keeps_its_pages(tmp_path, monkeypatch):
    """Copy-on-write pages hold what was written: dropping them would lose it."""
    monkeypatch.setattr(lazy, "_RESIDENT", 0)
    np.save(tmp_path / "x.npy", made((4, 2, 3)))
    x = np.load(tmp_path / "x.npy", mmap_mode="c")
    x[:] = 7
    for _ in range(3):
        np.testing.assert_array_equal(np.asarray(LazyArray(x)), 7)

"""A small simulated study, and what makes training on it cheap."""

import pytest

from phosphene.simulate.study import simulate


@pytest.fixture(scope="module", autouse=True)
def _nothing_beside():
    """No ideal observer, no page: they take longer than all the rest, and are asked elsewhere."""

    def page(folder):
        (folder / "report.html").write_text("")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("phosphene.scoring.ceilings", lambda experiment: {})
        patch.setattr("phosphene.grid.write_report", page)
        yield


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "s"
    return simulate(
        folder, n_subjects=2, n_train_pictures=40, n_test_pictures=40, train_repeats=1, test_repeats=4, snr_db=10.0
    )


@pytest.fixture(scope="session")
def cheap(study):
    """Overrides of the demo recipe."""
    return {
        "dataset.root": str(study), "generator": None, "training.epochs": 2, "evaluation.n_boot": 100,
        "evaluation.n_perm": 99, "evaluation.twin": False,
    }  # fmt: skip

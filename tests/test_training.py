"""The loop: it learns, it selects without the test part, and a killed run ends as an uninterrupted one."""

import pytest
import torch
from torch import nn

from conftest import make_trials
from phosphene.errors import PhospheneError
from phosphene.losses import cosine_distance
from phosphene.methods.base import Method
from phosphene.targets.base import Target
from phosphene.training import Training, fit

SETTINGS = Training(epochs=6, batch_size=8, lr=3e-2)


class Codes(Target):
    """A fixed random vector for each stimulus."""

    def config(self):
        return {"codes": 8}

    def content(self, stimuli):
        return list(stimuli.index)

    def embed(self, stimuli):
        return torch.stack([torch.randn(8, generator=torch.Generator().manual_seed(hash_of(n))) for n in stimuli.index])


def hash_of(name: str) -> int:
    return int.from_bytes(name.encode(), "big") % 2**31


class Linear(Method):
    """One linear map with dropout, so that randomness within an epoch matters too."""

    name = "linear-test"
    stages = ("align",)
    citation = ""

    def __init__(self, n_chans: int, n_times: int):
        super().__init__()
        self.config = {"n_chans": n_chans, "n_times": n_times}
        self.net = nn.Sequential(
            nn.Flatten(), nn.BatchNorm1d(n_chans * n_times), nn.Dropout(0.3), nn.Linear(n_chans * n_times, 8)
        )

    def targets(self):
        return {"code": Codes()}

    def training_step(self, batch, stage):
        return {"loss": cosine_distance(self.net(batch["eeg"] * 1e6), batch["code"])}

    def encode(self, trials):
        with torch.inference_mode():
            return {"code": self.net(torch.from_numpy(trials.eeg) * 1e6)}


class Killed(BaseException):
    pass


def trained(folder=None, kill_at=None, seed=0, select_on="val", settings=SETTINGS):
    trials = make_trials()
    train, val = trials.select(concept=["c0", "c1", "c2", "c3"]), trials.select(concept=["c4", "c5"])
    torch.manual_seed(seed)
    method, rows = Linear(trials.n_chans, trials.n_times), []

    def log(row):
        rows.append(row)
        if kill_at == row["epoch"]:
            raise Killed

    fit(method, train, val, settings=settings, seed=seed, select_on=select_on, folder=folder, log=log)
    return method, rows


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_it_learns_and_repeats_itself():
    (a, rows), (b, _), (c, _) = trained(), trained(), trained(seed=1)
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert same(a, b)
    assert not same(a, c)


@pytest.mark.parametrize("kill_at", [1, 3, 6])
def test_a_killed_run_ends_as_an_uninterrupted_one(tmp_path, kill_at):
    whole, rows = trained(tmp_path / "whole")
    with pytest.raises(Killed):  # after the epoch was trained, before its checkpoint: the worst moment
        trained(tmp_path / "killed", kill_at=kill_at)
    resumed, later = trained(tmp_path / "killed")
    assert same(whole, resumed)
    assert later[0]["epoch"] == kill_at  # finished epochs are not trained again
    assert [r["loss"] for r in later] == [r["loss"] for r in rows[kill_at - 1 :]]
    again, none = trained(tmp_path / "killed")
    assert none == []
    assert same(whole, again)


def test_val_selects_the_best_epoch_and_last_the_last():
    settings = Training(epochs=12, batch_size=8, lr=0.3)
    (best, rows), (last, _) = trained(settings=settings), trained(select_on="last", settings=settings)
    values = [r["val_loss"] for r in rows]
    assert min(values) < values[-1]
    trials = make_trials().select(concept=["c4", "c5"])
    code = Codes().table(trials.stimuli)[trials.table["stimulus"]]
    assert cosine_distance(best.encode(trials)["code"], code).item() == pytest.approx(min(values), rel=1e-4)
    assert cosine_distance(last.encode(trials)["code"], code).item() == pytest.approx(values[-1], rel=1e-4)


def test_patience_stops_early():
    _, rows = trained(settings=Training(epochs=40, batch_size=8, lr=0.3, patience=2))
    values = [r["val_loss"] for r in rows]
    assert len(rows) < 40
    assert values.index(min(values)) == len(values) - 3


class TwoStages(Linear):
    """A second stage that reads what the first one made of the EEG, and trains its own map alone."""

    name = "two-stages-test"
    stages = ("align", "prior")

    def __init__(self, n_chans: int, n_times: int):
        super().__init__(n_chans, n_times)
        self.prior = nn.Linear(8, 8)
        self.register_buffer("mean", torch.zeros(8))
        self.read: list[torch.Size] = []

    def begin(self, stage, trials, tables, inputs):
        if stage == "prior":
            self.mean.copy_(inputs.mean(dim=0))

    def trained(self, stage):
        return self.prior.parameters() if stage == "prior" else self.net.parameters()

    def inputs(self, stage, trials):
        return self.eval().encode(trials)["code"] if stage == "prior" else None

    def training_step(self, batch, stage):
        if stage == "align":
            return super().training_step(batch, stage)
        assert "eeg" not in batch
        self.read.append(batch["inputs"].shape)
        return {"loss": cosine_distance(self.prior(batch["inputs"] - self.mean), batch["code"])}


def staged(folder=None, kill=None):
    trials = make_trials()
    train, val = trials.select(concept=["c0", "c1", "c2", "c3"]), trials.select(concept=["c4", "c5"])
    torch.manual_seed(0)
    method, rows = TwoStages(trials.n_chans, trials.n_times), []

    def log(row):
        rows.append(row)
        if kill == (row["stage"], row["epoch"]):
            raise Killed

    settings = Training(epochs=3, batch_size=8, lr=3e-2, stages={"prior": {"epochs": 5, "batch_size": 4}})
    fit(method, train, val, settings=settings, folder=folder, log=log)
    return method, rows


def test_a_stage_has_its_own_settings_parameters_and_inputs(tmp_path):
    method, rows = staged()
    assert [(r["stage"], r["epoch"]) for r in rows] == [("align", e + 1) for e in range(3)] + [
        ("prior", e + 1) for e in range(5)
    ]
    assert method.read[0] == (4, 8)  # its own batch size, and no EEG
    assert rows[-1]["loss"] < rows[3]["loss"]
    torch.manual_seed(0)
    trials = make_trials()
    first = TwoStages(trials.n_chans, trials.n_times)
    train, val = trials.select(concept=["c0", "c1", "c2", "c3"]), trials.select(concept=["c4", "c5"])
    first.stages = ("align",)
    fit(first, train, val, settings=Training(epochs=3, batch_size=8, lr=3e-2))
    assert same(first.net, method.net)  # the second stage left the first one's map and its statistics alone
    assert not torch.equal(first.prior.weight, method.prior.weight)


@pytest.mark.parametrize("kill", [("align", 3), ("prior", 1), ("prior", 4)])
def test_a_run_killed_in_any_stage_ends_as_an_uninterrupted_one(tmp_path, kill):
    whole, _ = staged(tmp_path / "whole")
    with pytest.raises(Killed):
        staged(tmp_path / "killed", kill)
    resumed, _ = staged(tmp_path / "killed")
    assert same(whole, resumed)


def test_settings_of_a_stage_are_checked():
    assert Training(lr=0.5, stages={"prior": {"epochs": 7}}).of("prior").model_dump()["lr"] == 0.5
    trials = make_trials()
    for stages, said in (
        ({"priors": {}}, "'two-stages-test' trains no 'priors': did you mean 'prior'"),
        ({"prior": {"epoch": 3}}, r"training\.stages\.prior\.epoch: did you mean 'epochs'"),
        ({"prior": {"epochs": 0}}, r"training\.stages\.prior\.epochs: Input should be greater than 0"),
    ):
        with pytest.raises(PhospheneError, match=said):
            fit(TwoStages(5, 40), trials, settings=Training(stages=stages))


def test_errors_name_the_fix():
    with pytest.raises(PhospheneError, match="valid: val, last"):
        trained(select_on="test")
    with pytest.raises(PhospheneError, match=r"lower training\.lr"):
        trained(settings=Training(epochs=3, batch_size=8, lr=1e30, clip=1e30))
    with pytest.raises(PhospheneError, match="no training trial"):
        fit(Linear(5, 40), make_trials().select(concept="none"))


def test_target_tables_are_cached_by_content(tmp_path):
    calls = []

    class Counted(Codes):
        def embed(self, stimuli):
            calls.append(len(stimuli))
            return super().embed(stimuli)

    stimuli = make_trials().stimuli
    first = Counted().table(stimuli, tmp_path)
    again = Counted().table(stimuli, tmp_path)
    assert calls == [12]
    assert torch.equal(first.vectors, again.vectors)
    Counted().table(stimuli.iloc[:3], tmp_path)
    assert calls == [12, 3]
    assert torch.equal(first[["s11", "s00"]], first.vectors[[3, 0]])
    with pytest.raises(PhospheneError, match="has no target vector"):
        first[["other"]]

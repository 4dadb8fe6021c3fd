"""The loop: it learns, it selects without the test part, and a killed run ends as an uninterrupted one."""

import math

import pytest
import torch
from torch import nn

from conftest import make_trials, without_checksums
from phosphene.errors import PhospheneError
from phosphene.losses import cosine_distance
from phosphene.methods.base import Method
from phosphene.targets.base import Target
from phosphene.training.fit import Training, fit
from phosphene.utils.files import read_json, write_json

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


def test_a_checkpoint_written_before_there_were_steps_goes_on(tmp_path):
    whole, _ = trained()
    with pytest.raises(Killed):
        trained(tmp_path, kill_at=4)
    path = without_checksums(tmp_path / "align") / "state.json"
    old = {key: value for key, value in read_json(path).items() if key in ("epoch", "best", "best_epoch")}
    write_json(path, old)
    resumed, rows = trained(tmp_path)
    assert rows[0]["epoch"] == 4
    assert same(whole, resumed)


@pytest.mark.parametrize(("name", "content"), [("state.json", "[1]"), ("state.json", "{"), ("best.safetensors", "x")])
def test_a_damaged_checkpoint_is_named(tmp_path, name, content):
    with pytest.raises(Killed):
        trained(tmp_path, kill_at=2)
    (tmp_path / "align" / name).write_text(content)
    with pytest.raises(PhospheneError, match=f"{name} is damaged.*: remove .*align to train this stage again"):
        trained(tmp_path)
    without_checksums(tmp_path)
    with pytest.raises(PhospheneError, match="remove it to train this stage again"):
        trained(tmp_path)


def test_an_average_that_a_checkpoint_lacks_is_named(tmp_path):
    with pytest.raises(Killed):
        trained(tmp_path, kill_at=2)
    with pytest.raises(PhospheneError, match=r"ema\.safetensors.*remove it to train this stage again"):
        trained(tmp_path, settings=Training(epochs=6, batch_size=8, lr=3e-2, ema=0.9))


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


def test_a_stage_gives_gradients_to_its_own_parameters_alone():
    method, _ = staged()
    assert all(p.requires_grad for p in method.parameters())
    seen = {}

    class Watched(TwoStages):
        def training_step(self, batch, stage):
            seen[stage] = [p.requires_grad for p in (self.net[3].weight, self.prior.weight)]
            return super().training_step(batch, stage)

    fit(Watched(5, 40), make_trials(), settings=Training(epochs=1, batch_size=8))
    assert seen == {"align": [True, False], "prior": [False, True]}


class Recorded(Linear):
    """Without dropout and batch norm; keeps every training batch that it was given."""

    def __init__(self, n_chans: int, n_times: int):
        super().__init__(n_chans, n_times)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(n_chans * n_times, 8))
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def training_step(self, batch, stage):
        if self.training:
            self.seen.append((batch["eeg"].clone(), batch["code"].clone()))
        return super().training_step(batch, stage)


def recorded(settings, val=None, folder=None):
    trials = make_trials().select(concept=["c0", "c1", "c2", "c3"])
    torch.manual_seed(0)
    method, rows = Recorded(trials.n_chans, trials.n_times), []
    fit(method, trials, val, settings=settings, folder=folder, log=rows.append)
    return method, rows


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_steps_are_those_of_a_loop_written_by_hand(accumulate):
    """The published settings of SYNAPSE's second stage, but for their size, replayed on the batches that were given."""
    settings = Training(
        epochs=3,
        batch_size=4,
        accumulate=accumulate,
        lr=1e-2,
        betas=(0.8, 0.95),
        weight_decay=0.1,
        decays="all",
        schedule="constant",
        warmup=0.0,
        clip=0.05,
        ema=0.5,
    )
    method, _ = recorded(settings)
    assert len(method.seen) == 3 * 6
    torch.manual_seed(0)
    hand = Recorded(5, 40).net
    optimizer = torch.optim.AdamW(hand.parameters(), lr=1e-2, betas=(0.8, 0.95), weight_decay=0.1)
    average, step = [p.detach().clone() for p in hand.parameters()], 0
    for epoch in range(3):
        batches = method.seen[epoch * 6 : (epoch + 1) * 6]
        for start in range(0, 6, accumulate):  # of 6 batches, 4 make a step and the 2 that are left another
            part = batches[start : start + accumulate]
            torch.stack([cosine_distance(hand(eeg * 1e6), code) for eeg, code in part]).mean().backward()
            nn.utils.clip_grad_norm_(hand.parameters(), 0.05)
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            decay = 0.0 if step == 1 else min(0.5, step / (9 + step))  # EMAModel's rise
            average = [decay * a + (1 - decay) * p.detach() for a, p in zip(average, hand.parameters(), strict=True)]
    for mine, expected, raw in zip(method.net.parameters(), average, hand.parameters(), strict=True):
        torch.testing.assert_close(mine.data, expected, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(mine, raw, rtol=1e-4, atol=1e-6)  # the average is what is left in the method


def test_two_halves_make_the_step_of_one_batch():
    (whole, _), (halves, _) = recorded(SETTINGS), recorded(Training(epochs=6, batch_size=4, accumulate=2, lr=3e-2))
    torch.testing.assert_close(whole.net[1].weight, halves.net[1].weight, rtol=1e-4, atol=1e-5)


def test_the_average_is_what_is_validated_and_selected():
    val = make_trials().select(concept=["c4", "c5"])
    method, rows = recorded(Training(epochs=4, batch_size=8, lr=0.1, ema=0.9), val)
    values = [r["val_loss"] for r in rows]
    code = Codes().table(val.stimuli)[val.table["stimulus"]]
    assert cosine_distance(method.encode(val)["code"], code).item() == pytest.approx(min(values), rel=1e-5)
    plain, others = recorded(Training(epochs=4, batch_size=8, lr=0.1), val)
    assert [r["loss"] for r in others] == [r["loss"] for r in rows]  # training goes on from the weights themselves
    assert not same(plain, method)


def test_mixed_precision_keeps_float32_weights_and_differs_between_stages():
    settings = Training(epochs=2, batch_size=8, lr=3e-2, stages={"prior": {"precision": "bf16"}})
    seen = {}

    class Watched(TwoStages):
        def training_step(self, batch, stage):
            loss = super().training_step(batch, stage)
            seen[stage] = self.prior(torch.zeros(1, 8)).dtype
            return loss

    method = fit(Watched(5, 40), make_trials(), settings=settings)
    assert seen == {"align": torch.float32, "prior": torch.bfloat16}
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    assert not {"forward", "_is_accelerate_prepared"} & set(vars(method))  # nothing of accelerate's is left in it
    assert fit(Watched(5, 40), make_trials(), settings=Training(epochs=1, batch_size=8))
    assert seen["prior"] == torch.float32
    assert Training(precision=False).precision == "no"  # as YAML reads it
    if not torch.cuda.is_available():
        with pytest.raises(PhospheneError, match="fp16 needs a GPU"):
            fit(Linear(5, 40), make_trials(), settings=Training(precision="fp16"))


class Counted(TwoStages):
    """Killed in the middle of a batch."""

    calls, last = 0, math.inf

    def training_step(self, batch, stage):
        if self.training:
            self.calls += 1
            if self.calls > self.last:
                raise Killed
        return super().training_step(batch, stage)


def counted(folder, last=math.inf, every=None):
    trials = make_trials()
    train, val = trials.select(concept=["c0", "c1", "c2", "c3"]), trials.select(concept=["c4", "c5"])
    torch.manual_seed(0)
    method, rows = Counted(trials.n_chans, trials.n_times), {}
    method.last = last
    settings = Training(
        epochs=2, batch_size=4, accumulate=2, lr=3e-2, ema=0.9, checkpoint_every=every, stages={"prior": {"epochs": 3}}
    )
    fit(method, train, val, settings=settings, folder=folder, log=lambda r: rows.update({(r["stage"], r["epoch"]): r}))
    return method, rows


@pytest.mark.parametrize("every", [None, 1, 2, 4])
def test_killed_at_any_batch_it_ends_as_uninterrupted(tmp_path, every):
    """5 epochs of 6 batches, 3 steps each; with 4 steps between checkpoints some epochs end without one."""
    whole, rows = counted(tmp_path / "whole", every=every)
    assert whole.calls == 30
    assert len(rows) == 5
    for last in (1, 4, 5, 11, 13, 17, 29):
        folder = tmp_path / f"{last}"
        with pytest.raises(Killed):
            counted(folder, last, every)
        resumed, later = counted(folder, every=every)
        assert same(whole, resumed)
        assert later.items() <= rows.items()
        assert resumed.calls <= 30 - 2 * ((last // 2) // (every or 3) * (every or 3)) + 12 * (every == 4)


def test_settings_of_a_stage_are_checked():
    assert Training(lr=0.5, stages={"prior": {"epochs": 7}}).of("prior").model_dump()["lr"] == 0.5
    trials = make_trials()
    for stages, said in (
        (
            {"priors": {}},
            r"'two-stages-test' trains no 'priors': did you mean 'prior'.*training\.stages\.priors=null",
        ),
        ({"prior": {"epoch": 3}}, r"training\.stages\.prior\.epoch: did you mean 'epochs'"),
        ({"prior": {"betas": [0.9, 1.0]}}, r"training\.stages\.prior\.betas: .*below 1"),
        ({"prior": {"ema": 1.0}}, r"training\.stages\.prior\.ema: Input should be less than 1"),
        ({"prior": {"epochs": 0}}, r"training\.stages\.prior\.epochs: Input should be greater than 0"),
    ):
        with pytest.raises(PhospheneError, match=said):
            fit(TwoStages(5, 40), trials, settings=Training(stages=stages))


class Overflowing(Linear):
    """Its loss is beyond the largest float."""

    def training_step(self, batch, stage):
        return {"loss": (1e30 * self.net(batch["eeg"] * 1e6)).square().sum()}


def test_errors_name_the_fix():
    with pytest.raises(PhospheneError, match="valid: val, last"):
        trained(select_on="test")
    with pytest.raises(PhospheneError, match=r"lower training\.lr"):
        fit(Overflowing(5, 40), make_trials(), settings=Training(epochs=1, batch_size=8), select_on="last")
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

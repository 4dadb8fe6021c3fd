"""Two processes train what one would have trained, and one of them writes; run as a program, this is one of the two."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_training import Codes, Killed, same
from torch import nn

from conftest import make_trials
from phosphene.api import run
from phosphene.cli import main as command
from phosphene.errors import PhospheneError
from phosphene.losses import cosine_distance, info_nce
from phosphene.methods.base import Method
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe
from phosphene.training.fit import Training, fit
from phosphene.training.loop import share_of
from phosphene.utils import processes
from phosphene.utils.checksums import SUMS
from phosphene.utils.progress import Silent

SETTINGS = Training(
    epochs=3, batch_size=8, accumulate=2, lr=3e-2, ema=0.9, checkpoint_every=2, stages={"second": {"batch_size": 4}}
)


class Contrasted(Method):
    """A map for each of two stages, trained with a contrastive loss; the second reads what the first made."""

    name, stages, citation = "contrasted-test", ("first", "second"), ""

    def __init__(self, n_chans: int, n_times: int, dropout: float = 0.0):
        super().__init__()
        self.config = {"n_chans": n_chans, "n_times": n_times}
        self.net = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(n_chans * n_times, 8))
        self.norm = nn.BatchNorm1d(8) if dropout else nn.Identity()
        self.second = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.calls, self.last = 0, 10**9

    def targets(self):
        return {"code": Codes()}

    def trained(self, stage):
        return self.second.parameters() if stage == "second" else (*self.net.parameters(), self.scale)

    def inputs(self, stage, trials):
        return self.encode(trials)["code"] if stage == "second" else None

    def training_step(self, batch, stage):
        self.calls += self.training
        if self.calls > self.last:
            raise Killed
        if stage == "second":
            return {"loss": cosine_distance(self.second(batch["inputs"]), batch["code"])}
        found = self.norm(self.net(batch["eeg"] * 1e6))
        contrast = info_nce(found, batch["code"], self.scale.exp(), groups=batch["stimulus"])
        cosine = cosine_distance(found, batch["code"])
        return {"loss": contrast + cosine, "contrast": contrast, "cosine": cosine}

    @torch.inference_mode()
    def encode(self, trials):
        self.eval()
        return {"code": self.norm(self.net(torch.from_numpy(trials.eeg) * 1e6))}


def fitted(folder=None, last=10**9, dropout=0.0):
    trials = make_trials()
    train, val = trials.select(concept=["c0", "c1", "c2", "c3"]), trials.select(concept=["c4", "c5"])
    torch.manual_seed(0 if processes.is_main() else 1)  # the others start as the main one
    method, rows = Contrasted(trials.n_chans, trials.n_times, dropout), []
    method.last = last
    fit(method, train, val, settings=SETTINGS, folder=folder, cache=folder and folder / "cache", log=rows.append)
    return method, rows


def contrast(rank=0, n=1, gather=True):
    """Loss and gradients of rows ``rank`` of ``n`` parts, averaged over processes as training does."""
    rng = np.random.default_rng(0)
    x, code = (torch.tensor(rng.standard_normal((8, 6)), dtype=torch.float32).chunk(n)[rank] for _ in range(2))
    groups = torch.tensor([0, 1, 2, 3, 0, 1, 4, 5])
    code, each = F.one_hot(groups, 6).float().chunk(n)[rank], groups.chunk(n)[rank]
    losses = {}
    for kind, own in (("numbers", each), ("vectors", code), ("none", None)):
        torch.manual_seed(0)
        net, scale = nn.Linear(6, 6), nn.Parameter(torch.tensor(3.0))
        module = nn.ParameterDict({"scale": scale, **dict(net.named_parameters())})
        loss = info_nce(net(x), code, scale, groups=own, gather=gather)
        loss.backward()
        for parameter in module.values():
            if n > 1:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= n
        losses |= {kind: loss.detach(), **{f"{kind}.{k}": p.grad for k, p in module.items()}}
    return losses


class Heard(Silent):
    """Keeps what is shown."""

    def __init__(self):
        self.stages = []

    def bar(self, stage, total):
        self.stages.append(stage)
        return super().bar(stage, total)


def recipe(root):
    return {
        "name": "x",
        "dataset": {"name": "arrays", "root": str(root)},
        "method": {"name": "lda"},
        "protocol": {"select_on": "last", "average_test": 1},
        "evaluation": {"n_boot": 100, "n_perm": 99},
    }


def main(out: Path) -> None:
    """What each of the two processes does."""
    rank, written = processes.rank(), []
    sys.addaudithook(
        lambda event, args: (
            written.append(str(args[1 if event == "os.rename" else 0]))
            if event in ("os.rename", "os.mkdir")
            or (event == "open" and isinstance(args[1], str) and args[1][0] in "wax")
            else None
        )
    )
    facts = {"rank": rank, "count": processes.count(), "heard": processes.from_main(["of", rank])}
    losses = {"gathered": contrast(rank, 2), "own": contrast(rank, 2, gather=False)}
    method, rows = fitted(out / "checkpoints")
    whole, _ = fitted(dropout=0.3)
    facts["same"] = []
    for last in (1, 6, 13):
        try:
            fitted(out / f"killed{last}", last, 0.3)
        except Killed:
            facts["same"].append(same(whole, fitted(out / f"killed{last}", dropout=0.3)[0]))
    half, _ = fitted(out / "half")  # killed with one process, ended by two
    before = len(written)
    shown = Heard()
    run(recipe(out / "study"), out=out / "run", display=shown)
    facts |= {"rows": rows, "written": [p for p in written if str(out) in p], "of_run": len(written) - before}
    facts["shown"] = shown.stages
    weights = {"whole": method.state_dict(), "half": half.state_dict()}
    torch.save({"losses": losses, "weights": weights, "facts": json.dumps(facts)}, out / f"rank{rank}.pt")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    trials = make_trials(n_concepts=2, pictures=4, repeats=8)
    split = np.where(np.arange(len(trials)) % 3 == 0, "test", "train")
    trials.table["split"] = split
    trials.eeg[:] = 1e-5 * np.random.default_rng(0).normal(size=trials.eeg.shape)
    trials.save(out / "study")
    with pytest.raises(Killed):
        fitted(out / "half", last=4)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    both = [
        subprocess.Popen(
            [sys.executable, __file__, out],
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
                **place,
                "RANK": rank,
                "LOCAL_RANK": rank,
                "OMP_NUM_THREADS": "1",
                "PHOSPHENE_CACHE": str(out / "cache"),
            },
        )
        for rank in "01"
    ]
    for process in both:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    found = [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in "01"]
    return out, [{**each, "facts": json.loads(each["facts"])} for each in found]


def test_both_know_their_place(two):
    _, found = two
    assert [each["facts"]["rank"] for each in found] == [0, 1]
    assert [each["facts"]["count"] for each in found] == [2, 2]
    assert [each["facts"]["heard"] for each in found] == [["of", 0]] * 2
    assert (processes.count(), processes.rank(), processes.from_main(3)) == (1, 0, 3)  # here


def test_loss_and_gradients_are_those_of_the_whole_batch(two):
    whole = contrast()
    for each in two[1]:
        for name, value in whole.items():
            torch.testing.assert_close(each["losses"]["gathered"][name], value, msg=name)
            assert not torch.allclose(each["losses"]["own"][name], value, rtol=1e-3)
    torch.testing.assert_close(whole["numbers"], whole["vectors"])
    assert not torch.allclose(whole["numbers"], whole["none"])


def test_weights_and_log_are_those_of_one_process(two):
    method, rows = fitted()
    _, (main, other) = two
    for kind in ("whole", "half"):
        for name, value in method.state_dict().items():
            torch.testing.assert_close(main["weights"][kind][name], value, rtol=1e-4, atol=1e-5, msg=f"{kind} {name}")
            assert torch.equal(main["weights"][kind][name], other["weights"][kind][name])
    assert len(rows) == 6
    for row, expected in zip(main["facts"]["rows"], rows, strict=True):
        assert row.pop("stage") == expected.pop("stage")
        assert row == pytest.approx(expected, rel=1e-4)
    assert other["facts"]["rows"] == []


def test_killed_at_any_batch_both_end_as_uninterrupted(two):
    assert [each["facts"]["same"] for each in two[1]] == [[True] * 3] * 2


def test_only_the_main_process_writes_and_only_once(two):
    out, (main, other) = two
    assert other["facts"]["written"] == []
    assert main["facts"]["of_run"] > 0
    final = [p for p in main["facts"]["written"] if p.startswith(str(out / "run")) and "/." not in p]
    made = {"config.yaml", "trials", "provenance.json", "model", "decoded", "scores.csv", "report.html"}
    assert made <= {Path(p).name for p in final}
    assert ("training" in main["facts"]["shown"], other["facts"]["shown"]) == (True, [])
    files = [p for p in final if Path(p).is_file() and Path(p).name not in ("log.jsonl", SUMS)]  # which grow
    assert len(files) == len(set(files))


def test_the_log_has_each_epoch_once_whenever_it_was_stopped(two, tmp_path):
    out, _ = two
    run = Experiment(Recipe.read(recipe(out / "study")), tmp_path / "run")
    run.out.mkdir()
    lines = [{"fold": "a", "stage": "s", "epoch": epoch, "loss": 1.0} for epoch in (1, 2, 3)]
    (run.out / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"fold": "a", "st')
    for epoch in (2, 3, 4):  # stopped in epoch 4; the last checkpoint was that of epoch 1
        run.log.add({"fold": "a", "stage": "s", "epoch": epoch, "loss": 2.0})
    run.log.add({"fold": "b", "stage": "s", "epoch": 1, "loss": 2.0})
    found = [json.loads(line) for line in (run.out / "log.jsonl").read_text().splitlines()]
    assert [(r["fold"], r["epoch"], r["loss"]) for r in found] == [
        ("a", 1, 1.0),
        ("a", 2, 2.0),
        ("a", 3, 2.0),
        ("a", 4, 2.0),
        ("b", 1, 2.0),
    ]


def test_a_batch_that_cannot_be_split_is_named(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 3)
    with pytest.raises(PhospheneError, match="batch_size 8 cannot be split over 3 processes: set a multiple of 3"):
        share_of(SETTINGS.of("first"), 24)
    with pytest.raises(PhospheneError, match="2 training trials cannot be split over 3 processes"):
        share_of(Training(batch_size=9), 2)
    assert share_of(Training(batch_size=9), 7) == 6


def test_only_run_is_for_several(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(sys, "argv", ["phosphene", "list", "prior"])
    with pytest.raises(SystemExit) as stop:
        command()
    assert stop.value.code == 2
    assert "'list' runs in a single process (only 'run' uses several)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_recipe_runs_in_two_processes(cheap, tmp_path):
    """As the documentation starts it, with a method of batch norm and a solved stage."""
    overrides = [f"--set={key}={'null' if value is None else value}" for key, value in cheap.items()]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "phosphene", "run", "demo"]
    done = subprocess.run(
        [*command, *overrides, "--out", str(tmp_path / "run")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report.html") == 1
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(r["stage"], r["epoch"]) for r in rows] == [("align", 1), ("align", 2), ("prior", 1)] * 2
    assert not [p for p in (tmp_path / "run").rglob(".*")]  # no temporary of a second writer


if __name__ == "__main__":
    main(Path(sys.argv[1]))

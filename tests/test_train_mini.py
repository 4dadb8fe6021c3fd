"""The training of `mini` in miniature: every stage runs, and a stopped run goes on as if it had not been."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

TOOLS = Path(__file__).parent.parent / "tools"


@pytest.fixture(scope="module")
def mini():
    """The modules of `tools/mini`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        from mini import loop, world

        yield {"loop": loop, "world": world}


def train(folder: Path, *stages: str, stop_after: int | None = None, processes: int = 1) -> None:
    start = [sys.executable]
    if processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [
        *start,
        str(TOOLS / "train_mini.py"),
        "--out",
        str(folder / "run"),
        "--assets",
        str(folder / "mini"),
        "--walls",
        str(folder),
        "--steps-scale",
        "0.002",
        "--n-score",
        "8",
        "--threads",
        "1",
        "--stage",
        *stages,
    ]
    subprocess.run(command + (["--stop-after", str(stop_after)] if stop_after else []), check=True, capture_output=True)


@pytest.mark.slow
def test_every_stage_runs_and_a_stopped_one_goes_on(tmp_path: Path, mini):
    train(tmp_path / "whole", "all")
    for name in ("model_index.json", "clip/config.json", "judge/config.json", "README.md", "SHA256SUMS"):
        assert (tmp_path / "whole" / "mini" / name).is_file()
    assert max(p.stat().st_size for p in tmp_path.rglob("*.safetensors")) <= 16e6

    stages = ("text", "judge", "vae", "clip", "unet", "adapter")
    for stage in stages:
        train(tmp_path / "parted", stage, stop_after=2)
        train(tmp_path / "parted", stage)
    for stage in stages:
        one, two = (mini["loop"].load(tmp_path / run / "run" / stage) for run in ("whole", "parted"))
        assert one[0] == two[0]
        for key, value in one[2].items():
            torch.testing.assert_close(value, two[2][key], rtol=0, atol=0, msg=f"{stage}: {key}")


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path: Path, mini):
    train(tmp_path, "text", "vae", processes=2)
    assert all(mini["loop"].load(tmp_path / "run" / stage)[0] >= 4 for stage in ("text", "vae"))


def fitted(mini, folder: Path, stops: list[int], deadline: float = math.inf) -> dict[str, torch.Tensor]:
    """A small model trained to each of `stops` in turn, from its checkpoint."""
    for stop in stops:
        torch.manual_seed(5)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))

        def loss(rng: np.random.Generator, model: torch.nn.Module = model) -> torch.Tensor:
            x = torch.from_numpy(rng.normal(size=(16, 4))).float()
            return (model(x) - x.sum(1, keepdim=True)).square().mean()

        mini["loop"].fit(
            folder,
            model,
            loss,
            seed=(0, 1),
            steps=40,
            stop=stop,
            deadline=deadline,
            lr=0.05,
            warmup=4,
            every=7,
            processes=mini["loop"].Processes(),
        )
    return mini["loop"].load(folder)[2]


def test_a_stopped_fit_equals_an_uninterrupted_one(tmp_path: Path, mini):
    whole, parted = fitted(mini, tmp_path / "whole", [40]), fitted(mini, tmp_path / "parted", [1, 13, 14, 40])
    assert whole.keys() == parted.keys()
    assert all(torch.equal(whole[key], parted[key]) for key in whole)
    assert any(not torch.equal(whole[f"model.{k}"], whole[f"mean.{k}"]) for k in ("0.weight", "2.weight"))


def test_a_fit_that_is_out_of_time_keeps_what_it_did(tmp_path: Path, mini):
    fitted(mini, tmp_path / "late", [40], deadline=0.0)
    assert mini["loop"].load(tmp_path / "late")[0] == 1
    late, whole = fitted(mini, tmp_path / "late", [40]), fitted(mini, tmp_path / "whole", [40])
    assert all(torch.equal(whole[key], late[key]) for key in whole)


def test_checkpoints_are_small_files_and_whole_or_absent(tmp_path: Path, mini, monkeypatch: pytest.MonkeyPatch):
    loop = mini["loop"]
    monkeypatch.setattr(loop, "PART", 1000)
    tensors = {str(i): torch.full((100,), float(i)) for i in range(9)}
    loop.save(tmp_path / "stage", 3, 1.5, tensors)
    assert len(list((tmp_path / "stage" / "00000003").glob("*.safetensors"))) == 5
    (tmp_path / "stage" / "unfinished").mkdir()  # what a killed process leaves
    (tmp_path / "stage" / "00000007").mkdir()
    step, seconds, found = loop.load(tmp_path / "stage")
    assert (step, seconds) == (3, 1.5)
    assert all(torch.equal(found[key], value) for key, value in tensors.items())
    loop.save(tmp_path / "stage", 8, 2.0, tensors)
    assert [p.name for p in (tmp_path / "stage").iterdir()] == ["00000008"]


def test_captions_tell_what_they_say_they_tell(mini):
    world = mini["world"]
    rng = np.random.default_rng(0)
    for scene in world.sample_scenes(400, seed=1):
        text, facts = world.caption(scene, rng)
        words = text.replace(",", " ").split()
        assert ("object" in facts) == (scene.object in words) or scene.object in scene.companion.split()
        if "object" in facts:
            assert "kind" in facts
        if "light" in facts and "background" in facts and text == scene.prompt:
            assert {"object", "colour", "position"} <= facts
        if "companion" in facts and scene.companion != "none":
            assert f"a small {scene.companion}" in text
    plain = world.sample_scenes(1, seed=2, plain=True)[0]
    assert world.phrase(plain, {"object"}) == world.a(plain.object)
    everything = {"kind", "object", "colour", "position", "background", "light"}
    assert world.phrase(plain, everything) == plain.prompt

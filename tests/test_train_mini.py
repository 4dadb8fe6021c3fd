"""The training of `mini` in miniature: every stage runs, and a stopped run goes on as if it had not been."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parent.parent / "tools" / "train_mini.py"


def train(folder: Path, *stages: str, stop_after: int | None = None) -> None:
    command = [sys.executable, str(SCRIPT), "--out", str(folder / "run"), "--assets", str(folder / "mini"),
               "--walls", str(folder), "--steps-scale", "0.006", "--n-score", "16", "--threads", "1",
               "--stage", *stages]  # fmt: skip
    subprocess.run(command + (["--stop-after", str(stop_after)] if stop_after else []), check=True, capture_output=True)


@pytest.mark.slow
def test_every_stage_runs_and_a_stopped_one_goes_on(tmp_path: Path):
    train(tmp_path / "whole", "all")
    for name in ("model_index.json", "clip/config.json", "judge/config.json", "README.md", "SHA256SUMS"):
        assert (tmp_path / "whole" / "mini" / name).is_file()

    train(tmp_path / "parted", "text", stop_after=2)
    train(tmp_path / "parted", "text", "vae")
    train(tmp_path / "parted", "clip", stop_after=2)
    train(tmp_path / "parted", "clip", "judge")
    train(tmp_path / "parted", "unet", stop_after=2)
    train(tmp_path / "parted", "unet", "adapter")
    stages = ("text", "vae", "clip", "judge", "unet", "adapter")
    for stage in stages:
        one, two = (
            torch.load(tmp_path / run / "run" / f"{stage}.pt", weights_only=True) for run in ("whole", "parted")
        )
        assert one["step"] == two["step"]
        for key, value in one["weights"].items():
            torch.testing.assert_close(value, two["weights"][key], rtol=0, atol=0, msg=f"{stage}: {key}")

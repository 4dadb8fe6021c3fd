"""Semantic prompts on simulated studies: recall by head against chance, control and ideal observer; maps against truth.

    python benchmarks/semantic_prompts.py --out FOLDER [--snr-db -13 -10 -7] [--seeds 0 1 2] [--part recall maps]

**recall**: studies of `--n-subjects` subjects; each is read by a model of their own ("within") and by one of the other
subjects alone, with other pictures ("unseen"). **maps**: studies of as many subjects whose brains have two regions,
objects behind and themes in front ("two"), and the same with the two exchanged ("swapped"); the map of themes minus
that of objects is compared with the sources that made the study, and with those of the exchanged brain. Models are
those of the recipe `semantic-prompts`. Finished runs in FOLDER are kept, so that a benchmark that was stopped goes on;
the two parts may run at once. Printed are mean and range over studies; of maps, over their people too.
"""

import argparse
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")

import pandas as pd

from phosphene.captions import LEVEL_OF
from phosphene.explain.contrast import level_contrast
from phosphene.explain.diagnosis import Diagnosis
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe
from phosphene.runs.scoring import score
from phosphene.simulate.study import simulate

TWO = {"two": "swapped", "swapped": "two"}


def experiment(out: Path, study: Path, seed: int, given: argparse.Namespace, **changes: Any) -> Experiment:
    """A finished, scored run of semantic prompts on a study."""
    recipe = Recipe.read(
        "semantic-prompts",
        {
            "dataset.root": str(study),
            "method.encoder": given.encoder,
            "generator": None,
            "protocol.seed": seed,
            "evaluation.n_boot": 500,
            "evaluation.n_perm": 500,
            **changes,
        },
    )
    made = Experiment(recipe, out)
    if not (out / "scores.csv").is_file():
        made.run()
        score(made)
    return made


def recall(given: argparse.Namespace) -> pd.DataFrame:
    rows = []
    for snr in given.snr_db:
        for seed in given.seeds:
            study = simulate(given.out / f"whole{snr:g}-{seed}", n_subjects=given.n_subjects, snr_db=snr, seed=seed)
            apart = {
                "protocol.split": "leave_one_subject_out",
                "protocol.subjects": "joint",
                "protocol.and_given": True,
            }
            for who, changes in (("within", {}), ("unseen", apart)):
                run = experiment(given.out / f"run-{who}{snr:g}-{seed}", study, seed, given, **changes)
                table = pd.read_csv(run.out / "scores.csv")
                rows.append(table.assign(snr_db=snr, study_seed=seed, who=who))
                pd.concat(rows).to_csv(given.out / "recall.csv", index=False)
    return pd.concat(rows)


def maps(given: argparse.Namespace) -> pd.DataFrame:
    rows = []
    for snr in given.snr_db:
        for seed in given.seeds:
            contrasts, truths = {}, {}
            for regions in TWO:
                study = simulate(
                    given.out / f"{regions}{snr:g}-{seed}",
                    n_subjects=given.n_subjects,
                    snr_db=snr,
                    seed=seed,
                    regions=regions,
                )
                run = experiment(given.out / f"run-{regions}{snr:g}-{seed}", study, seed, given)
                found = Diagnosis(run)
                contrasts[regions] = {
                    t: level_contrast(found.maps(shuffled=t).by_level(LEVEL_OF)) for t in (False, True)
                }
                truths[regions] = found.truth()
            for regions, other in TWO.items():
                own, exchanged, control = (
                    contrasts[regions][t].check(truths[which]).set_index("subject")
                    for t, which in ((False, regions), (False, other), (True, regions))
                )
                for person in own.index:  # "mean" is the mean map of the study's people
                    rows.append(
                        {
                            "snr_db": snr,
                            "seed": seed,
                            "regions": regions,
                            "map_of": person,
                            "auc": own["auc"][person],
                            "spearman": own["spearman"][person],
                            "auc_of_exchanged_truth": exchanged["auc"][person],
                            "auc_of_control": control["auc"][person],
                        }
                    )
            pd.DataFrame(rows).to_csv(given.out / "maps.csv", index=False)
    return pd.DataFrame(rows)


def tell(table: pd.DataFrame, by: list[str], values: list[str]) -> None:
    """Mean and range over the rows of each cell, as a Markdown table."""
    print(f"| {' | '.join([*by, *values, 'n'])} |\n|{'---|' * (len(by) + len(values) + 1)}")
    for key, part in table.groupby(by, sort=False):
        cells = [str(k) for k in (key if isinstance(key, tuple) else (key,))]
        for value in values:
            x = part[value].dropna().to_numpy(float)
            cells.append(f"{x.mean():.3f} ({x.min():.3f} to {x.max():.3f})" if len(x) else "")
        print(f"| {' | '.join([*cells, str(len(part))])} |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--snr-db", type=float, nargs="+", default=[-13.0, -10.0, -7.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--part", nargs="+", choices=["recall", "maps"], default=["recall", "maps"])
    parser.add_argument("--n-subjects", type=int, default=3)
    parser.add_argument("--encoder", default="spatiotemporal")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if "maps" in given.part:
        found = maps(given)
        found = found.assign(map_of=found["map_of"].where(found["map_of"] == "mean", "person"))
        measures = ["auc", "auc_of_exchanged_truth", "auc_of_control", "spearman"]
        tell(found, ["map_of", "regions", "snr_db"], measures)
    if "recall" in given.part:
        table = recall(given)
        asked = table["metric"].str.fullmatch(r"image_top1|captions?_[a-zA-Z]+(\.of_test_captions)?_top1")
        one = table[asked & table["subject"].astype(str).eq("all")]  # all people of a study
        tell(one, ["metric", "who", "snr_db"], ["value", "chance", "shuffled", "ceiling"])


if __name__ == "__main__":
    main()

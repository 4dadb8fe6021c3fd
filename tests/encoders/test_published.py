"""Published checkpoints, made by name and shape: what is detected, and what is refused."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from conftest import GOLDEN, ROUNDING, golden, off
from golden import fill
from phosphene.checkpoints.encoders import from_published
from phosphene.errors import PhospheneError
from phosphene.registry import build

EEG = torch.from_numpy(fill.inputs((4, 63, 250), 10001))


def state(case):
    """The state dict of a published model, filled as for the golden vectors; tables of positions as they are made."""
    lines = (GOLDEN / "keys" / f"{case}.tsv").read_text().splitlines()[1:]
    shapes = {key: tuple(json.loads(shape)) for key, shape, _ in (line.split("\t") for line in lines)}
    content = {k: torch.from_numpy(np.asarray(v)) for k, v in fill.fill_state_dict(shapes, 0).items()}
    for key in set(shapes) - set(content):
        family = {"n_chans": 63, "n_times": 250, "n_outputs": 4, "unused": 0}
        made = build("encoder", "atm", **family, family="time" if key.startswith("attention") else "channel")
        content[key] = made.state_dict()[key]
    return content


def written(tmp_path, content, name="sub-08.pth"):
    torch.save(content, tmp_path / name)
    return tmp_path / name


def agrees(found, case, **changed):
    """Outputs of the golden case; the published rule of batches is not detected, so whole batches are compared."""
    facts, expected = golden(case)
    n_chans = facts["inputs"]["eeg"]["shape"][-2]
    eeg = torch.from_numpy(fill.inputs(facts["inputs"]["eeg"]["shape"], 10001)).reshape(4, n_chans, 250)
    whole = [k for k in expected if k in ("embedding", "ids_all_1", "ids_all_8", "ids_all_5", "ids_none")]
    assert whole
    encoder = copy.deepcopy(found.encoder).double()
    for output in whole:
        ids = facts.get("subject_ids", {}).get(output)
        arguments = [] if ids is None else [torch.tensor(ids)]
        assert off(encoder(eeg.double(), *arguments), expected[output]) <= ROUNDING


@pytest.mark.parametrize(
    ("case", "name", "config"),
    [
        ("atm_v1", "atm", {}),
        ("atm_v1_reconstruction", "atm", {}),
        ("atms_v2", "atm", {}),
        ("atms_v2_pe", "atm", {"positional_embedding": True}),
        ("atms_v3", "atm", {}),
        ("atms_v3_joint", "atm", {}),
        ("atms_v3_nope", "atm", {"positional_embedding": False}),
        ("atms_v3_nope10", "atm", {"token_slice": "fixed"}),
        ("nice_atm", "nice", {}),
        ("ubp_eegproject_17", "projection", {}),
        ("ubp_eegproject_63", "projection", {}),
    ],
)
def test_each_published_model_is_detected_and_gives_its_numbers(tmp_path, case, name, config):
    found = from_published(written(tmp_path, state(case)), **config)
    assert found.name == name
    assert found.logit_scale == pytest.approx(2.6593)
    assert any("logit_scale is 2.6593" in line for line in found.says)
    assert not found.encoder.training
    agrees(found, case)
    again = build("encoder", found.name, **json.loads(json.dumps(found.config)))
    again.load_state_dict(found.encoder.state_dict())


def test_what_was_found_is_said(tmp_path):
    content = state("atms_v2")
    content["Proj_img.0.weight"] = torch.ones(3, 4)
    said = " ".join(from_published(written(tmp_path, content)).says)
    for part in (
        "n_chans 63",
        "kernel 25",
        "token_slice legacy",
        "10 rows",
        "release of 2024",
        "Proj_img (12 numbers)",
        "mask_token",
        "temporal_embedding",
        "subject_wise_linear (125,500 numbers)",
    ):
        assert part in said
    said = " ".join(from_published(written(tmp_path, state("atm_v1"))).says)
    assert "attention_model.encoder_layer (276,539 numbers)" in said
    said = " ".join(from_published(written(tmp_path, state("atms_v3_joint"))).says)
    assert "release of 2026" in said
    assert "a map for each" in said


def linear(content):
    return {
        key.replace(".conv", ".linear"): value.squeeze(2) if "conv" in key and key.endswith("weight") else value
        for key, value in ((k, v) for k, v in content.items() if not k.startswith("enc_eeg"))
    } | {k: v for k, v in content.items() if k.startswith("enc_eeg")}


@pytest.mark.parametrize("form", ["linear", "module", "wrapped", "safetensors", "legacy", "no counters", "double"])
def test_forms_of_a_file(tmp_path, form):
    content, path = state("atms_v2"), tmp_path / "one.pth"
    if form == "linear":
        content = linear(content)
        assert "encoder.encoder.attn_layers.0.linear1.weight" in content
    if form == "module":
        content = {f"module.{k}": v for k, v in content.items()}
    if form == "no counters":
        content = {k: v for k, v in content.items() if not k.endswith("num_batches_tracked")}
    if form == "safetensors":
        path = tmp_path / "one.safetensors"
        save_file(content, path)
    elif form == "wrapped":
        torch.save({"epoch": 3, "state_dict": content}, path)
    elif form == "double":
        torch.save({k: v.double() if v.is_floating_point() else v for k, v in content.items()}, path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    found = from_published(path)
    agrees(found, "atms_v2")
    if form == "linear":
        assert any("linear1 and linear2" in line for line in found.says)


def test_a_table_of_positions_is_the_files_own(tmp_path):
    content = state("atm_v1")
    content["attention_model.pos_encoder.pe"] = content["attention_model.pos_encoder.pe"] + 1
    found = from_published(written(tmp_path, content))
    assert off(found.encoder(EEG).double(), golden("atm_v1")[1]["embedding"]) > 0.01
    content["attention_model.pos_encoder.pe"] = torch.zeros(10, 63)
    with pytest.raises(PhospheneError, match=r"pos_encoder.pe' is \(10, 63\), not \(5000, 63\)"):
        from_published(written(tmp_path, content))


def test_nice_in_two_files(tmp_path):
    whole = state("nice_original")
    for part in ("enc_eeg", "proj_eeg"):
        content = {k.removeprefix(f"{part}."): v for k, v in whole.items() if k.startswith(part)}
        written(tmp_path, content, f"cls_{part.capitalize()}.pth")
    for path in (tmp_path, [tmp_path / "cls_Enc_eeg.pth", tmp_path / "cls_Proj_eeg.pth"]):
        found = from_published(path)
        assert (found.name, found.config["n_outputs"], found.logit_scale) == ("nice", 768, None)
        agrees(found, "nice_original")
    with pytest.raises(PhospheneError, match="holds Enc_eeg alone: give the folder of NICE's two files"):
        from_published(tmp_path / "cls_Enc_eeg.pth")
    with pytest.raises(PhospheneError, match="holds Proj_eeg alone"):
        from_published(tmp_path / "cls_Proj_eeg.pth")
    with pytest.raises(PhospheneError, match="as another of these files does"):
        from_published([tmp_path / "cls_Enc_eeg.pth"] * 2)
    (tmp_path / "cls_Proj_eeg.pth").unlink()
    with pytest.raises(PhospheneError, match=r"holds 0 files named \*proj_eeg\*"):
        from_published(tmp_path)


def without(key):
    return lambda content: content.pop(key)


def put(key, value):
    return lambda content: content.__setitem__(key, value)


NORM = "encoder.encoder.norm.weight"
TABLE = "encoder.enc_embedding.subject_embedding.subject_embedding.weight"


@pytest.mark.parametrize(
    ("case", "harm", "message"),
    [
        ("atms_v2", without(NORM), f"lacks '{NORM}'"),
        ("atms_v2", without("encoder.enc_embedding.value_embedding.weight"), "lacks encoder.enc_embedding.value"),
        ("atms_v2", without("enc_eeg.0.tsconv.0.weight"), "lacks enc_eeg.0.tsconv.0.weight"),
        ("atms_v2", without(TABLE), f"lacks {TABLE}"),
        ("atms_v2", put(NORM, torch.ones(249)), r"norm.weight' is \(249,\), not \(250,\)"),
        ("atms_v2", put(NORM, torch.full((250,), float("nan"))), "values that are not finite"),
        ("atms_v2", put("eegnet.conv.weight", torch.ones(3)), "holds 'eegnet.conv.weight', which no published"),
        ("atms_v2", put("proj_eeg.0.weight", torch.ones(1024, 1400)), "the projector reads 1400 numbers"),
        ("atms_v2", put("enc_eeg.0.tsconv.0.weight", torch.ones(40)), "a weight has 1 axes"),
        ("atms_v2", put("logit_scale", torch.ones(2)), "logit_scale has the shape"),
        ("atms_v2", put("note", "hello"), "'note', which is not a tensor"),
        ("atms_v3_joint", put(TABLE, torch.ones(4, 250)), "maps of 10 subjects and tokens of 4"),
        ("ubp_eegproject_17", put("model.0.weight", torch.ones(1024, 4251)), "reads 4251 numbers"),
        ("nice_atm", without("proj_eeg.2.bias"), "lacks 'proj_eeg.2.bias'"),
    ],
)
def test_faults_are_named_in_one_line(tmp_path, case, harm, message):
    content = state(case)
    harm(content)
    with pytest.raises(PhospheneError, match=message) as error:
        from_published(written(tmp_path, content))
    assert "\n" not in str(error.value)
    assert "sub-08.pth" in str(error.value)


class Hostile:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code ran')",))


def test_files_never_run_code_and_others_are_refused(tmp_path):
    torch.save({"enc_eeg.0.tsconv.0.weight": Hostile()}, tmp_path / "hostile.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Hostile()))
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    (tmp_path / "empty.safetensors").write_bytes(b"")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    torch.save({"weight": torch.ones(2)}, tmp_path / "other.pth")
    for name in ("hostile.pth", "plain.pth", "module.pth", "empty.safetensors", "list.pth", "other.pth", "absent.pth"):
        with pytest.raises(PhospheneError, match=name) as error:
            from_published(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(PhospheneError, match="fits no encoder of ATM, NICE or UBP; it holds 'weight'"):
        from_published(tmp_path / "other.pth")

"""Models of braindecode as encoders, built at random: shapes, gradients, methods around them, and ATM-E."""

import re

import mne
import pytest
import torch

from conftest import make_trials
from phosphene.errors import PhospheneError
from phosphene.methods.base import Method
from phosphene.registry import build
from phosphene.runs.checks import check
from phosphene.runs.recipe import Recipe
from phosphene.training.fit import Training, fit

pytest.importorskip("braindecode")

from phosphene.encoders.braindecode import models

pytestmark = pytest.mark.filterwarnings("ignore")  # models speak of windows that they were not made for
MODELS = [
    "ATCNet",
    "BDTCN",
    "CTNet",
    "Deep4Net",
    "EEGConformer",
    "EEGInceptionERP",
    "EEGITNet",
    "EEGNet",
    "EEGNeX",
    "EEGTCNet",
    "SCCNet",
    "ShallowFBCSPNet",
    "SPARCNet",
    "TCFormer",
    "TIDNet",
]
POSTERIOR = {"P": "7531z2468", "PO": "73z48", "O": "1z2"}
SHAPE = {"n_chans": 17, "n_times": 250, "n_outputs": 64, "sfreq": 250.0}
# these download a table when they are built, or have 25 million parameters or more
LEFT_OUT = {"REVE", "STEEGFormer", "BENDR", "CodeBrain", "DeepSleepNet", "EEGPT"}


def made(**arguments):
    torch.manual_seed(0)
    return build("encoder", "braindecode", **{**SHAPE, **arguments})


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_an_encoder(model):
    encoder, eeg = made(model=model), torch.randn(4, 17, 250)
    out = encoder(eeg)
    assert out.shape == (4, 64)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    encoder.eval()
    with torch.inference_mode():
        whole = encoder(eeg)
        torch.testing.assert_close(encoder(eeg[2:3]), whole[2:3], rtol=1e-4, atol=1e-5)
        theirs = models()[model](n_chans=17, n_times=250, n_outputs=64, sfreq=250.0)
        theirs.load_state_dict(encoder.model.state_dict())
        torch.testing.assert_close(theirs.eval()(eeg), whole)


@pytest.mark.parametrize("model", sorted(set(models()) - LEFT_OUT))
def test_every_model_is_built_or_says_in_one_line_why_not(model):
    try:
        encoder = made(model=model)
    except PhospheneError as error:
        said = str(error)
    else:
        with torch.inference_mode():
            assert encoder.eval()(torch.randn(1, 17, 250)).shape == (1, 64)
        return
    assert re.match(rf"braindecode's {model} (cannot be built for|gives) ", said)
    assert model not in MODELS


@pytest.mark.parametrize("model", ["DGCNN", "EEGSym"])
def test_models_that_read_positions_get_them_by_names(model):
    names = [row + place for row, places in POSTERIOR.items() for place in places]
    with pytest.raises(PhospheneError, match="chs_info not specified.*give ch_names"):
        made(model=model)
    assert made(model=model, ch_names=names)(torch.randn(2, 17, 250)).shape == (2, 64)
    info = mne.create_info(names, 250.0, "eeg").set_montage("colin27_1005")
    assert made(model=model, chs_info=info["chs"])(torch.randn(2, 17, 250)).shape == (2, 64)


def test_volts_need_a_scale():
    """The logarithm of ShallowFBCSPNet stops at 1e-6."""
    volts = 1e-5 * torch.randn(8, 17, 250)
    assert made(model="ShallowFBCSPNet").eval()(volts).std(dim=0).max() == 0
    assert made(model="ShallowFBCSPNet", scale=1e6).eval()(volts).std(dim=0).min() > 0.01


def test_the_default_constructor_words_reach_the_model():
    encoder = made(model="EEGNet", model_args={"F1": 4, "activation": "GELU"})
    assert (encoder.model.n_chans, encoder.model.n_times, encoder.model.n_outputs) == (17, 250, 64)
    assert (encoder.model.sfreq, encoder.model.F1, type(encoder.model.elu_1)) == (250.0, 4, torch.nn.GELU)
    with pytest.raises(PhospheneError, match="did you mean 'EEGNet'"):
        made(model="EEGNetv4")
    with pytest.raises(PhospheneError, match="EEGNet cannot be built for 17 channels and 9 samples"):
        made(model="EEGNet", n_times=9)
    with pytest.raises(PhospheneError, match=r"gives \(2, 64, 7\) for 2 trials, not \(2, 64\)"):
        made(model="EEGNet", model_args={"final_conv_length": 1})


CASES = [
    ("atm", {"encoder": "braindecode", "encoder_args": {"model": "EEGNet", "model_args": {"activation": "GELU"}}}),
    ("atm", {"encoder": "braindecode", "encoder_args": {"model": "EEGConformer"}}),
    ("nice", {"encoder": "braindecode", "encoder_args": {"model": "ShallowFBCSPNet", "scale": 1e6}}),
    ("nice", {"encoder": "braindecode", "encoder_args": {"model": "ATCNet"}}),
    ("atm", {"encoder_args": {"convolution": "eegnet"}, "subjects": ["01"]}),
    ("atm", {"encoder_args": {"convolution": "eegnet", "family": "time"}, "preset": "atm2024-generation"}),
]


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_methods_fit_save_and_load_with_one(name, arguments, tmp_path):
    trials = make_trials(tmp_path / "pictures", n_times=100)
    torch.manual_seed(0)
    if arguments.get("preset"):  # a token slice is not of tokens of time
        arguments = {**arguments, "encoder_args": {**arguments["encoder_args"], "token_slice": "fixed"}}
    method = build("method", name, n_chans=trials.n_chans, n_times=100, sfreq=100.0, **arguments)
    before = {k: v.clone() for k, v in method.encoder.named_parameters()}
    fit(method, trials, settings=Training(epochs=1, batch_size=8), select_on="last")
    assert all(not torch.equal(v, before[k]) for k, v in method.encoder.named_parameters() if v.grad is not None)
    vectors = method.encode(trials)["image"]
    assert vectors.isfinite().all()
    again = Method.from_pretrained(method.save(tmp_path / "model"))
    torch.testing.assert_close(again.encode(trials)["image"], vectors)


@pytest.mark.parametrize(("family", "count"), [("channel", 4_622_400), ("time", 4_519_689)])
def test_atm_e_is_eegnet_between_atms_attention_and_its_projector(family, count):
    torch.manual_seed(0)
    encoder = build("encoder", "atm", n_chans=63, n_times=250, n_outputs=1024, family=family, convolution="eegnet")
    assert sum(p.numel() for p in encoder.parameters()) == count
    eeg = torch.randn(4, 63, 250)
    encoder(eeg).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    assert encoder.eval()(eeg).shape == (4, 1024)
    eegnet = models()["EEGNet"](
        n_chans=63, n_times=250, n_outputs=1440, F1=8, D=20, F2=160, kernel_length=4, drop_prob=0.25, pool_mode="mean"
    )
    eegnet.load_state_dict(encoder.enc_eeg[0].model.state_dict())
    if family == "channel":
        attended = encoder.encoder(eeg, None)
    else:
        attended = encoder.subject_wise_linear(encoder.attention_model(eeg), None)
    torch.testing.assert_close(encoder(eeg), encoder.proj_eeg(eegnet.eval()(attended)))
    assert {m.p for m in encoder.enc_eeg.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}


def test_arguments_of_eegnet_take_precedence():
    shape = {"n_chans": 5, "n_times": 40, "n_outputs": 12, "convolution": "eegnet"}
    encoder = build("encoder", "atm", **shape, conv_dropout=0.1, eegnet_args={"D": 2, "F2": None, "pool_mode": "max"})
    model = encoder.enc_eeg[0].model
    assert (model.D, model.F1, model.F2, model.drop_prob, model.pool_mode) == (2, 8, 16, 0.1, "max")
    assert encoder(torch.randn(3, 5, 40)).shape == (3, 12)
    with pytest.raises(PhospheneError, match="EEGNet cannot be built for 5 channels and 20 samples"):
        build("encoder", "atm", **{**shape, "n_times": 20})


@pytest.mark.parametrize(
    ("given", "message"),
    [({"model": "EEGNett"}, "no model 'EEGNett'"), ({"model_args": {"n_filters": 0}}, "EEGNet has no argument")],
)
def test_a_model_that_cannot_be_built_is_refused_before_the_eeg_is_read(given, message):
    recipe = Recipe.read(
        {
            "name": "x",
            "dataset": {"name": "synthetic", "root": "somewhere"},
            "preprocessing": {"tmin": -0.1, "tmax": 0.7, "sfreq": 125.0},
            "method": {"name": "nice", "encoder": "braindecode", "encoder_args": given},
        }
    )
    with pytest.raises(PhospheneError, match=rf"method\.encoder_args: .*{message}"):
        check(recipe, data=False)

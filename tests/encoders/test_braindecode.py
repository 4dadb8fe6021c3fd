"""What is asked of braindecode, and said of it, tried on a stand-in for the package; the package itself is run by
`make test-metrics`."""

import subprocess
import sys

import pytest
import torch

from phosphene.errors import MissingExtra, PhospheneError
from phosphene.registry import build

SHAPE = {"n_chans": 3, "n_times": 20, "n_outputs": 4}
STAND_IN = """
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self, n_chans=None, n_outputs=None, n_times=None, width=4, activation=nn.ELU, note="none",
                 chs_info=None, input_window_seconds=None, sfreq=100.0, **kwargs):
        super().__init__()
        if n_times < 10:
            raise RuntimeError("Kernel size\\n   can't be greater than actual input size")
        self.got = {"sfreq": sfreq, "chs_info": chs_info, "kwargs": kwargs, "note": note}
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(n_chans * n_times, width), activation(),
                                    nn.Dropout(0.5), nn.Linear(width, n_outputs))
    def forward(self, x):
        return self.layers(x)

class Dense(Plain):
    def forward(self, x):
        return self.layers(x)[:, :, None].expand(-1, -1, 7)

class Pair(Plain):
    def forward(self, x):
        return self.layers(x), x

class Few(Plain):
    def __init__(self, n_chans, n_outputs, n_times):
        super().__init__(n_chans, n_outputs, n_times)

models_dict = {"Plain": Plain, "Dense": Dense, "Pair": Pair, "Few": Few}
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Puts a package of this name, with this text for its table of models, in the place of braindecode."""

    def put(text):
        for name in [n for n in sys.modules if n.split(".")[0] == "braindecode"]:
            monkeypatch.delitem(sys.modules, name)
        (tmp_path / "braindecode" / "models").mkdir(parents=True)
        (tmp_path / "braindecode" / "__init__.py").touch()
        (tmp_path / "braindecode" / "models" / "__init__.py").touch()
        (tmp_path / "braindecode" / "models" / "util.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)

    yield put
    for name in [n for n in sys.modules if n.split(".")[0] == "braindecode"]:
        del sys.modules[name]


@pytest.fixture
def stand_in(package):
    package(STAND_IN)


def made(**arguments):
    return build("encoder", "braindecode", **{**SHAPE, **arguments})


def test_it_is_imported_when_a_model_is_built_and_not_before():
    code = (
        "import sys, phosphene.registry as r; r.classes('encoder'); r.classes('method'); "
        "r.build('encoder', 'atm', n_chans=3, n_times=80, n_outputs=4); "
        "print([m for m in sys.modules if m.split('.')[0] in ('braindecode', 'torchaudio')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(("name", "arguments"), [("braindecode", {}), ("atm", {"convolution": "eegnet"})])
def test_an_absent_package_is_one_line_with_the_command(name, arguments, monkeypatch):
    monkeypatch.setitem(sys.modules, "braindecode", None)
    monkeypatch.setitem(sys.modules, "braindecode.models.util", None)
    with pytest.raises(MissingExtra, match=r"^'braindecode' is not installed: pip install 'phosphene\[braindecode\]'$"):
        build("encoder", name, **SHAPE, **arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import audio_not_here.functional", r"^'audio_not_here' is not installed: .*'phosphene\[braindecode\]'$"),
        (
            "raise OSError('libc10_cuda.so')",
            r"beside torch .*libc10_cuda\.so.*torch and torchaudio from the same index",
        ),
        ("from torch import not_there", "does not load beside torch .*not_there"),
    ],
)
def test_a_package_that_does_not_load_says_why(package, text, message):
    package(text)
    with pytest.raises(PhospheneError, match=message):
        made()


@pytest.mark.usefixtures("stand_in")
def test_the_models_numbers_are_the_encoders():
    torch.manual_seed(0)
    encoder, eeg = made(model="Plain", model_args={"width": 6}), torch.randn(5, 3, 20)
    assert encoder.training
    assert encoder.model.training
    assert encoder.model.layers[1].out_features == 6
    encoder.eval()
    torch.testing.assert_close(encoder(eeg), encoder.model(eeg))
    volts = made(model="Plain", model_args={"width": 6}, scale=1e6).eval()
    volts.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(volts(1e-6 * eeg), encoder(eeg), rtol=1e-4, atol=1e-6)
    with pytest.raises(PhospheneError, match="was built for"):
        encoder(eeg[:, :, :-1])


@pytest.mark.usefixtures("stand_in")
def test_a_model_gets_the_facts_that_are_known_and_that_it_takes():
    assert made(model="Plain").model.got == {"sfreq": 100.0, "chs_info": None, "kwargs": {}, "note": "none"}
    chs = [{"ch_name": name} for name in "abc"]
    got = made(model="Plain", sfreq=250.0, chs_info=chs, model_args={"note": "GELU"}).model.got
    assert got == {"sfreq": 250.0, "chs_info": chs, "kwargs": {}, "note": "GELU"}  # no layer: the text stays
    assert made(model="Few", sfreq=250.0, chs_info=chs)(torch.zeros(1, 3, 20)).shape == (1, 4)


@pytest.mark.usefixtures("stand_in")
def test_names_of_electrodes_become_positions():
    chs = made(model="Plain", ch_names=["Cz", "oz", "O2"]).model.got["chs_info"]
    assert [ch["ch_name"] for ch in chs] == ["Cz", "oz", "O2"]
    cz, oz, o2 = (ch["loc"][:3] for ch in chs)
    assert cz[2] > 0.05 > abs(cz[0])  # m, above
    assert oz[1] < -0.05  # behind
    assert o2[0] > 0.01  # right
    for names, message in (
        (["Cz", "Oz"], "give 3 different names"),
        (["Cz", "Oz", "oz"], "give 3 different names"),
        (["Cz", "Oz", "P0z"], "'P0z' has no place in the 10-05 system: did you mean"),
    ):
        with pytest.raises(PhospheneError, match=message):
            made(model="Plain", ch_names=names)


@pytest.mark.usefixtures("stand_in")
def test_layers_are_named_as_in_torch_and_no_other_code_is_reached(tmp_path):
    assert isinstance(made(model="Plain", model_args={"activation": "GELU"}).model.layers[2], torch.nn.GELU)
    for name in ("os.abort", "torch.nn.GELU", "functional", "Parameter"):
        with pytest.raises(PhospheneError, match=f"model_args: activation: torch.nn has no '{name}'"):
            made(model="Plain", model_args={"activation": name})


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "Plane"}, "braindecode has no model 'Plane': did you mean 'Plain'"),
        ({"model": "Plain", "model_args": {"widht": 3}}, "Plain has no argument 'widht': did you mean 'width'"),
        ({"model": "Plain", "model_args": {"kwargs": 3}}, "Plain has no argument 'kwargs'"),
        ({"model": "Plain", "model_args": {"n_times": 9}}, "'n_times' is the encoder's own argument: leave it out"),
        (
            {"model": "Plain", "n_times": 9, "sfreq": 50.0},
            r"Plain cannot be built for 3 channels and 9 samples at 50 Hz \(RuntimeError: Kernel size can't be",
        ),
        ({"model": "Dense"}, r"Dense gives \(2, 4, 7\) for 2 trials, not \(2, 4\): change model_args"),
        ({"model": "Pair"}, "Pair gives a tuple for 2 trials"),
    ],
)
def test_what_does_not_fit_is_one_line(arguments, message):
    with pytest.raises(PhospheneError, match=message):
        made(**arguments)


def test_arguments_of_the_other_convolution_are_refused():
    shape = {**SHAPE, "n_times": 100}
    with pytest.raises(PhospheneError, match="kernel, pool and stride are tsconv's: give eegnet_args"):
        build("encoder", "atm", **shape, convolution="eegnet", kernel=5)
    with pytest.raises(PhospheneError, match="eegnet_args are for convolution 'eegnet'"):
        build("encoder", "atm", **shape, eegnet_args={"D": 2})
    with pytest.raises(PhospheneError, match="convolution"):
        build("encoder", "atm", **shape, convolution="deep4")
    assert [m.p for m in build("encoder", "atm", **shape).enc_eeg.modules() if hasattr(m, "p")] == [0.5]

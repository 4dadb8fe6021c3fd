"""One place says where models run: every registered class asks it, on a device that is not there.

The device is torch's "meta", on which tensors have shapes alone: what is computed of weights there and of inputs that
were left on the CPU is an error of torch. What is fetched from it comes back as ones.
"""

import gc
import inspect
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from transformers import GitProcessor
from typer.testing import CliRunner

from backbones.published import git_row, processor, tokenizer
from conftest import make_trials, without_checksums
from phosphene import runtime
from phosphene.backbones import table as backbones
from phosphene.captions import SLOTS
from phosphene.cli import app
from phosphene.errors import MissingExtra, PhospheneError
from phosphene.evaluation.metrics import inception, judge, networks, perceptual
from phosphene.evaluation.metrics.presets import lpips_in_unit_range
from phosphene.explain.attribution import attribute
from phosphene.explain.hallucination import scene_judge
from phosphene.generators.base import Conditioning, Generator, noise_generator
from phosphene.generators.diffusion import Diffusion
from phosphene.methods.base import Method, in_batches
from phosphene.networks.caption_adapter import VisualTokens
from phosphene.registry import build, classes
from phosphene.runs.experiment import Experiment
from phosphene.runs.recipe import Recipe
from phosphene.simulate.judge import load_judge
from phosphene.simulate.study import simulate
from phosphene.targets.clip import CLIPImage
from phosphene.training.fit import Training, fit
from phosphene.utils import processes
from phosphene.utils.files import digest, read_json

#: what takes tensors of two devices
ACROSS = {"_has_compatible_shallow_copy_type", "copy_", "to", "type_as", "__getitem__", "__setitem__"}
FETCHED = {"cpu", "tolist", "item", "numpy", "__bool__", "__float__", "__int__", "__index__"}
SHAPE = {"n_chans": 5, "n_times": 100, "sfreq": 100.0}
#: parts of a method that its defaults leave out
MORE = {"atm": {"low_level": "small", "captioner": "git-large-coco"}}
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Elsewhere(TorchFunctionMode):
    """What is fetched from the meta device is ones, of that shape and kind; tensors of two devices do not meet."""

    def __init__(self):
        super().__init__()
        self.fetched = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        there = args and isinstance(args[0], torch.Tensor) and args[0].is_meta
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and t.ndim]
        assert name in ACROSS or len({t.device for t in given}) < 2, f"{name} of tensors on two devices"
        home = name == "to" and "cpu" in map(str, (*args[1:], *(kwargs or {}).values()))
        if there and name == "nonzero":
            self.fetched += 1
            return torch.zeros(1, args[0].ndim, dtype=torch.long)
        if there and (name in FETCHED or home):
            self.fetched += 1
            args = (torch.ones(args[0].shape, dtype=args[0].dtype), *args[1:])
        return func(*args, **(kwargs or {}))


@pytest.fixture
def elsewhere():
    """A runtime whose device is the fake one."""
    with runtime.using(device="meta"), Elsewhere() as mode:
        yield mode


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    trials = make_trials(tmp_path_factory.mktemp("seen"), n_concepts=4, repeats=2, n_times=100)
    return trials.select(np.arange(len(trials)) < 16)


@pytest.fixture(scope="module")
def tiny_git(tmp_path_factory):
    """A captioner of few weights."""
    folder = tmp_path_factory.mktemp("tiny") / "git"
    row = git_row(folder)
    GitProcessor(processor(), tokenizer()).save_pretrained(folder)
    return row


@pytest.fixture(autouse=True)
def _small(tiny_git, monkeypatch):
    """It stands in the table's place of the published one."""
    monkeypatch.setitem(backbones.BACKBONES, "git-large-coco", tiny_git)
    monkeypatch.setattr(gc, "collect", lambda: 0)  # a third of a second each time


def pictures(n=3, side=32):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)) for _ in range(n)]


# ---------------------------------------------------------------- the one place


def two_gpus(monkeypatch, kind="cuda"):
    own = torch.device(kind, 1)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))
    monkeypatch.setattr(processes, "device", lambda: own)
    return own


def test_what_is_asked_last_and_nearest_holds(monkeypatch):
    own = two_gpus(monkeypatch)
    assert runtime.device() == runtime.device("cuda") == own
    assert runtime.device("cuda:0") == torch.device("cuda:0")
    monkeypatch.setattr(runtime, "_recipe", runtime._recipe)
    runtime.follow("cuda:0", "bf16")
    assert (str(runtime.device()), runtime.precision()) == ("cuda:0", "bf16")
    with runtime.using(device="cpu"):
        assert (str(runtime.device()), runtime.precision()) == ("cpu", "bf16")
        with runtime.using(precision="fp32"):
            assert (str(runtime.device()), runtime.precision()) == ("cpu", "fp32")
        assert str(runtime.device("cuda:1")) == "cuda:1"
        with runtime.using(device="auto"):
            assert runtime.device() == own
    assert str(runtime.device()) == "cuda:0"
    monkeypatch.setattr(runtime, "_program", runtime._program)
    runtime.use(device="cuda:1", precision="fp16")
    assert (str(runtime.device()), runtime.dtype()) == ("cuda:1", torch.float16)
    runtime.use()
    assert str(runtime.device()) == "cuda:0"


def test_half_precision_is_for_cuda_alone(monkeypatch):
    assert runtime.precision("cpu") == "fp32"
    two_gpus(monkeypatch, "mps")
    assert (runtime.precision(), runtime.precision("cpu")) == ("fp32", "fp32")
    two_gpus(monkeypatch)
    assert (runtime.precision(), runtime.precision("cpu"), runtime.dtype()) == ("fp16", "fp32", torch.float16)


@pytest.mark.parametrize("name", ["cuda:3", "mps", "gpu", "cuda:", "-1"])
def test_a_device_that_is_not_here_is_one_line(monkeypatch, name):
    with pytest.raises(PhospheneError, match=rf"device '{name}' is not available here \(no GPU\): give auto or cpu$"):
        runtime.device(name)
    two_gpus(monkeypatch)
    fix = rf"'{name}' is not available here \(2 GPUs\): give auto, cpu, cuda:0 or cuda:1$"
    for asks in (runtime.device, lambda n: runtime.use(device=n), lambda n: Diffusion(device=n)):
        with pytest.raises(PhospheneError, match=fix):
            asks(name)


def test_an_unknown_precision_is_one_line():
    with pytest.raises(PhospheneError, match="unknown precision 'fp8': did you mean 'fp"):
        runtime.use(precision="fp8")


def test_double_precision_stays_where_there_is_none(monkeypatch):
    two_gpus(monkeypatch, "mps")
    double = nn.Linear(2, 2).double()
    assert runtime.home(runtime.place(double)).type == "cpu"
    assert runtime.place(print) is print
    assert runtime.home(print).type == "cpu"


def test_no_other_module_decides():
    odd = re.compile(r"""["']cuda|\.cuda\(|device: [^=,()]*= "cpu"|is_available\(\)""")
    root = Path(runtime.__file__).parent
    found = [str(p.relative_to(root)) for p in root.rglob("*.py") if odd.search(p.read_text(encoding="utf-8"))]
    assert sorted(found) == ["runtime.py", "utils/processes.py"]  # processes asks whether several share one


# ---------------------------------------------------------------- everything asks it


@pytest.mark.parametrize(("name", "cls"), list(classes("target").items()))
def test_targets_compute_on_the_device_and_answer_on_the_cpu(name, cls, elsewhere, seen):
    vectors = cls().embed(seen.stimuli)
    assert (vectors.device.type, vectors.dtype, len(vectors)) == ("cpu", torch.float32, len(seen.stimuli))
    assert elsewhere.fetched


@pytest.mark.parametrize(("name", "cls"), list(classes("target").items()))
def test_half_precision_has_tables_of_its_own(name, cls, seen, tmp_path):
    stimuli = seen.stimuli.iloc[:2]
    exact, kept = cls().embed(stimuli), cls().kept(stimuli, tmp_path, "x")
    with runtime.using(precision="bf16"):
        half = cls()
        vectors = half.embed(stimuli)
        assert vectors.dtype == torch.float32
        assert (half.kept(stimuli, tmp_path, "x") == kept) == (half.precision() == "fp32") == (name == "latent")
        assert torch.equal(vectors, exact) == (name == "latent")
    assert nn.functional.cosine_similarity(vectors.flatten(1), exact.flatten(1)).min() > 0.99


@pytest.mark.parametrize(("name", "cls"), list(classes("encoder").items()))
def test_encoders_compute_where_they_are(name, cls, elsewhere):
    try:
        encoder = cls(n_outputs=12, **SHAPE)
    except MissingExtra as error:
        pytest.skip(str(error))
    encoder = runtime.place(encoder.eval())
    assert encoder(torch.zeros(4, 5, 100, device="meta")).is_meta


@pytest.mark.parametrize(("name", "cls"), list(classes("prior").items()))
def test_priors_compute_where_they_are(name, cls, elsewhere):
    prior = runtime.place(cls(n_inputs=6, n_outputs=4).eval())
    assert prior(torch.zeros(3, 6, device="meta")).is_meta


@pytest.mark.parametrize(("name", "cls"), list(classes("method").items()))
def test_methods_decode_on_the_device_and_answer_on_the_cpu(name, cls, seen, tmp_path):
    method = cls(**cls.taken(**SHAPE, concepts=["c0", "c1", "c2", "c3"]), **MORE.get(name, {}))
    fit(method, seen, settings=Training(epochs=1, batch_size=8), select_on="last", cache=tmp_path)
    method.save(tmp_path / "m")
    with runtime.using(device="meta"), Elsewhere() as mode:
        again = Method.from_pretrained(tmp_path / "m")
        assert runtime.home(again).type == "meta"
        heads = again.encode(seen)
        assert {v.device.type for v in heads.values()} == {"cpu"}
        assert {len(v) for v in heads.values()} == {len(seen)}
        assert mode.fetched
        if cls.condition is not Method.condition:
            drawn = again.condition(seen)
            tensors = [t for t in (drawn.tokens, drawn.image_embeds) if t is not None]
            assert len(drawn) == len(seen)
            assert {t.device.type for t in tensors} <= {"cpu"}


@pytest.mark.parametrize("name", ["nice", "ridge"])
def test_training_runs_and_ends_on_the_device(name, elsewhere, seen, tmp_path):
    with runtime.using(device="cpu"):
        method = build("method", name, **SHAPE)
        method.space.table(seen.stimuli, tmp_path)  # so that none of it is fetched
    rows = []
    fit(method, seen, settings=Training(epochs=1, batch_size=8), select_on="last", cache=tmp_path, log=rows.append)
    assert rows[0].get("loss", 1) == 1  # as it is fetched
    assert runtime.home(method).type == "meta"
    assert processes.device().type == "cpu"  # as it was


@pytest.mark.parametrize(("name", "cls"), list(classes("generator").items()))
@pytest.mark.parametrize("field", ["prompt", "image_embeds", "tokens", "init"])
def test_generators_draw_on_the_device(name, cls, field, elsewhere, seen):
    given = {"prompt": ["a dog", "a cat"], "image_embeds": torch.zeros(2, 128), "tokens": torch.zeros(2, 77, 128)}
    wanted = {field: given[field]} if field in given else {"init": pictures(2), "strength": 0.5, "prompt": ["a", "b"]}
    if field not in cls.accepts:
        pytest.skip(f"{name} takes no {field}")
    if name == "nearest":  # compares vectors that it is given, and has no model
        images = list(seen.stimuli["image"][:2])
        drawn = cls(images, torch.eye(2, 128))(Conditioning(**wanted))
    else:
        generator = cls(**({"steps": 2} if name == "diffusion" else {}))
        drawn = generator(Conditioning(**wanted))
        assert {runtime.home(m).type for m in generator.pipeline.components.values() if isinstance(m, nn.Module)} == {
            "meta"
        }
        assert elsewhere.fetched
    assert [len(row) for row in drawn] == [1, 1]
    assert issubclass(cls, Generator)


@pytest.mark.parametrize("name", list(classes("captioner")))
def test_captioners_run_on_the_device(name, elsewhere, tiny_git):
    if name != "vision_language":
        assert "device" not in inspect.signature(classes("captioner")[name]).parameters  # has no model here
        return
    captioner = build("captioner", name, model="git-base-coco", folder=tiny_git.repo)
    assert len(captioner.say(pictures(), SLOTS[:1])) == 3
    assert captioner._loaded[0].device.type == "meta"
    assert elsewhere.fetched


class Layer(nn.Module):
    """A network with the layer that a metric reads, and weights."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x, other=None):
        found = self.avgpool(self.mix(x.float())).flatten(1)
        return found if other is None else (found - self.avgpool(self.mix(other)).flatten(1)).abs().mean(1)


class Fidelity(Layer):
    def forward(self, x):
        return (super().forward(x),)


JUDGES = {
    "features": lambda: networks.features("swav_distance", pictures(), model=Layer()),
    "clip_features": lambda: networks.clip_features(pictures(), backbone="mini"),
    "mini_features": lambda: inception.mini_features(pictures()),
    "fidelity": lambda: inception.fidelity_features(pictures(), model=Fidelity()),
    "torchvision": lambda: inception.torchvision_features(pictures(), model=Layer()),
    "judged": lambda: judge.judged(pictures(), model=Layer()),
    "lpips": lambda: perceptual.lpips_distance(pictures(), pictures(), np.arange(3), model=Layer(), side=8),
    "lpips_in_unit_range": lambda: lpips_in_unit_range(pictures(), pictures(), Layer(), side=8),
    "scenes": lambda: load_judge().predict(pictures())["object"],
    "scene_judge": lambda: scene_judge()(pictures()).labels,
}


@pytest.mark.parametrize("name", JUDGES)
def test_judges_and_metrics_run_on_the_device(name, elsewhere):
    answers = JUDGES[name]()
    assert isinstance(answers, list | np.ndarray)
    assert len(answers) == 3
    assert elsewhere.fetched


def test_gradients_are_taken_where_the_model_is(elsewhere):
    encoder = runtime.place(build("encoder", "nice", n_outputs=4, **SHAPE).eval())

    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = encoder

        def forward(self, eeg):
            return {"image": self.encoder(eeg)}

    found = attribute(Heads().eval(), np.zeros((3, 5, 100), np.float32), {"image": torch.ones(3, 4)})
    assert found["image"].shape == (3, 5, 100)
    assert elsewhere.fetched


def test_an_explicit_device_is_kept(elsewhere):
    found = CLIPImage(device="cpu").images(pictures())
    assert torch.equal(found, CLIPImage(device="cpu").images(pictures()))
    assert elsewhere.fetched == 0


def test_noise_is_the_same_in_every_precision():
    for row in backbones.BACKBONES.values():
        if row.shapes.latent is not None:
            exact = torch.randn(row.shapes.latent, generator=noise_generator(1, 2, 3))
            for dtype in (torch.float16, torch.bfloat16):
                drawn = torch.randn(row.shapes.latent, generator=noise_generator(1, 2, 3), dtype=dtype)
                assert torch.equal(drawn, exact.to(dtype)), row.name


# ---------------------------------------------------------------- out of memory


class Tight(nn.Module):
    """Takes so many items at a time."""

    def __init__(self, most):
        super().__init__()
        self.most, self.sizes = most, []

    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > self.most:
            raise FULL
        return 2 * x


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(8, [8, 3]), (4, [8, 4, 4, 3]), (3, [8, 4, 2, 2, 2, 2, 2, 1]), (1, [8, 4, 2, *[1] * 11])],
)
def test_out_of_memory_halves_the_batch_and_changes_nothing(most, sizes, caplog):
    x, net = torch.randn(11, 3), Tight(most)
    batches = runtime.Batches(8, "generator.batch_size")
    assert torch.equal(torch.cat(list(batches(lambda part: net(x[part]), 11))), 2 * x)
    assert net.sizes == sizes
    net.sizes.clear()
    list(batches(lambda part: net(x[part]), 11))  # the size that fitted is begun with
    assert max(net.sizes) <= most
    told = [r.getMessage() for r in caplog.records]
    assert ("out of memory with generator.batch_size 8: continuing with 4; set it to that value" in told) == (most < 8)


def test_when_not_even_one_fits_it_is_one_line():
    with pytest.raises(PhospheneError, match="^out of memory even with generator.batch_size 1: choose a smaller model"):
        list(runtime.Batches(8, "generator.batch_size")(lambda part: Tight(0)(torch.zeros(8)[part]), 8))
    with pytest.raises(PhospheneError, match="^generator.batch_size is 0: give 1 or more$"):
        Diffusion(batch_size=0)


def test_other_errors_are_what_they_are():
    def broken(part):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        list(runtime.Batches(8, "batch_size")(broken, 8))
    with pytest.raises(RuntimeError, match="shapes do not fit"), runtime.memory("training", "set batch_size"):
        broken(None)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (FULL, True),
        (torch.OutOfMemoryError("words of another version"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 9 GB"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED."), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("CUDA out of memory."), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_what_out_of_memory_is(error, full):
    assert runtime.out_of_memory(error) == full


def narrow(module, most, count):
    """The module's forward, refused above so many items; how often it was."""

    def forward(*args, **kwargs):
        given = next(v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor))
        if len(given) > most:
            count.append(len(given))
            raise FULL
        return whole(*args, **kwargs)

    whole, module.forward = module.forward, forward
    return module


def test_a_target_goes_on_with_fewer(seen):
    target, refused = CLIPImage(batch_size=8), []
    whole = target.embed(seen.stimuli)
    narrow(target._clip[0].vision_model, 3, refused)
    torch.testing.assert_close(target.embed(seen.stimuli), whole)
    assert refused == [8, 4]
    narrow(target._clip[0].vision_model, 0, refused)
    with pytest.raises(PhospheneError, match="out of memory even with batch_size of CLIPImage 1"):
        target.embed(seen.stimuli)


def test_a_drawing_goes_on_with_fewer_and_is_the_same():
    prompts, refused = Conditioning(prompt=["a red car", "a fish", "a dog"]), []
    generator = Diffusion(steps=1, guidance=1.0, batch_size=3)
    whole = generator(prompts, seed=1)
    narrow(generator.pipeline.unet, 1, refused)
    again = generator(prompts, seed=1)
    assert refused == [3]
    for (a,), (b,) in zip(whole, again, strict=True):
        assert np.abs(np.asarray(a, int) - np.asarray(b, int)).max() <= 1
    narrow(generator.pipeline.unet, 0, refused)
    with pytest.raises(PhospheneError, match=r"out of memory even with generator\.batch_size 1"):
        generator(prompts)


def test_decoding_goes_on_with_fewer(seen):
    net, whole = Tight(5), 2 * torch.tensor(seen.eeg[:])
    assert torch.equal(torch.cat(list(in_batches(lambda eeg, part: net(eeg), seen, "cpu", 16))), whole)
    assert net.sizes == [16, 8, 4, 4, 4, 4]
    with pytest.raises(PhospheneError, match="out of memory even with trials decoded at a time: 1"):
        list(in_batches(lambda eeg, part: Tight(0)(eeg), seen, "cpu"))


def test_a_judge_goes_on_with_fewer():
    one, refused = load_judge(), []
    whole = one.predict(pictures(5))
    assert narrow(one, 2, refused).predict(pictures(5)) == whole
    assert refused == [5]


def test_training_says_which_batch_size_to_set(seen, tmp_path):
    method = build("method", "nice", **SHAPE)
    narrow(method.encoder, 7, [])
    settings = Training(epochs=1, batch_size=8, accumulate=2)
    fix = r"^out of memory in the training of stage 'align': set training\.batch_size below 8, and training\.accumulate"
    with pytest.raises(PhospheneError, match=fix):
        fit(method, seen, settings=settings, select_on="last", cache=tmp_path)
    tokens = narrow(VisualTokens(6, 4, 3), 1, [])
    with pytest.raises(PhospheneError, match="set batch_size below 2"):
        tokens.fit(torch.zeros(4, 6), torch.zeros(4, 4, 3), batch_size=2)


# ---------------------------------------------------------------- in recipes and runs


def test_where_is_no_part_of_what(monkeypatch):
    plain = Recipe.read("demo", {"dataset.root": "study"})
    there = Recipe.read("demo", {"dataset.root": "study", "runtime.device": "cuda:7", "runtime.precision": "fp16"})
    assert plain.runtime.model_dump() == {"device": "auto", "precision": "auto"}
    assert there.what() == plain.what() == Recipe.filled(there.model_dump(mode="json"))
    assert digest(there.what()) == "02071d1af029"  # as before there was a runtime
    assert there.protocol.hash == "e99b1b7d"
    with pytest.raises(PhospheneError, match=r"runtime\.precision: .*'fp32', 'fp16' or 'bf16'"):
        Recipe.read("demo", {"dataset.root": "study", "runtime.precision": "half"})
    with pytest.raises(PhospheneError, match=r"unknown key 'runtime\.devise': did you mean 'device'"):
        Recipe.read("demo", {"dataset.root": "study", "runtime.devise": "cpu"})


def test_a_run_goes_on_elsewhere_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "_recipe", runtime._recipe)
    study = simulate(
        tmp_path / "study", n_subjects=1, n_train_pictures=10, n_test_pictures=4, train_repeats=1, test_repeats=1
    )
    asked = {
        "dataset.root": str(study),
        "generator": None,
        "method": {"name": "ridge"},
        "training": {},
        "evaluation.shuffled_control": False,
    }
    here = Experiment(Recipe.read("demo", asked), tmp_path / "run")
    here.run()
    assert read_json(tmp_path / "run" / "provenance.json")["runtime"] == [{"device": "cpu", "precision": "fp32"}]
    vectors = here.decoded(here.folds[0]).heads["image"]

    there = Experiment(Recipe.read("demo", asked | {"runtime.precision": "bf16"}), tmp_path / "run")
    shutil.rmtree(there.folder(there.folds[0]) / "decoded")
    there.run()  # the model is trained already
    assert torch.equal(there.decoded(there.folds[0]).heads["image"], vectors)
    opened = Experiment.open(tmp_path / "run")
    assert opened.recipe.runtime.precision == runtime.precision() == "bf16"
    used = read_json(tmp_path / "run" / "provenance.json")["runtime"]
    assert used == [{"device": "cpu", "precision": "fp32"}, {"device": "cpu", "precision": "bf16"}]

    gone = Experiment(Recipe.read("demo", asked | {"runtime.device": "cuda:7"}), tmp_path / "run")
    with pytest.raises(PhospheneError, match="device 'cuda:7' is not available here"):
        gone.run()
    config = without_checksums(tmp_path / "run") / "config.yaml"
    config.write_text(config.read_text().replace("device: auto", "device: cuda:7"))
    assert Experiment.open(tmp_path / "run").recipe.runtime.device == "auto"  # elsewhere it is opened all the same
    assert runtime.home(Experiment.open(tmp_path / "run").method()).type == "cpu"


def test_the_commands_that_run_models_take_a_device(monkeypatch, tmp_path):
    asked = []

    def opened(*args, **kwargs):
        asked.append(str(runtime.device()))
        raise PhospheneError("far enough")

    for name in (
        "runs.experiment.Experiment.open",
        "runs.recipe.Recipe.read",
        "grid.schema.Grid.read",
        "captions.read_stimuli",
    ):
        monkeypatch.setattr(f"phosphene.{name}", opened)
    monkeypatch.setattr("phosphene.api.study", opened)
    commands = {
        "run": ["demo"],
        "decode": ["run", "trials", "--out", tmp_path / "d"],
        "explain": ["run"],
        "audit": ["run"],
        "evaluate": ["run"],
        "grid": ["g"],
        "analyse": ["repeats", "run"],
        "demo": ["--out", tmp_path / "demo"],
        "caption": ["--by", "file", "--stimuli", "s.csv", "--out", tmp_path / "c"],
    }
    for verb, words in commands.items():
        done = CliRunner().invoke(app, [verb, *map(str, words), "--device", "meta"])
        assert done.exit_code == 2, (verb, done.output)
        done = CliRunner().invoke(app, [verb, *map(str, words), "--device", "cuda:3"])
        assert "device 'cuda:3' is not available here (no GPU): give auto or cpu" in done.output, verb
    assert asked == ["meta"] * len(commands)
    assert str(runtime.device()) == "cpu"  # as it was

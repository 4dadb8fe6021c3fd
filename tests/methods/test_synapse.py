"""SYNAPSE: what the presets stand for, what each stage trains and leaves alone, and what is drawn from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from conftest import make_trials
from phosphene import losses
from phosphene.backbones.table import load_unet
from phosphene.errors import PhospheneError
from phosphene.generators.diffusion import Diffusion
from phosphene.methods import synapse
from phosphene.methods.base import Method
from phosphene.methods.synapse import LOSSES, SYNAPSE
from phosphene.targets.text_states import TextStates
from phosphene.training.fit import Training, fit

SHAPE = {"n_chans": 5, "n_times": 40, "sfreq": 100.0, "concepts": ["c0", "c1", "c2", "c3"]}
QUICK_ALIGN = Training(epochs=1, batch_size=8)
QUICK = Training(epochs=2, batch_size=8, stages={"draw": {"epochs": 1}})


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return make_trials(tmp_path_factory.mktemp("seen")).select(concept=SHAPE["concepts"])


def made(**changes):
    torch.manual_seed(0)
    return SYNAPSE(**{**SHAPE, **changes})


@pytest.fixture(scope="module")
def fitted(seen):
    return fit(made(), seen, settings=QUICK, select_on="last")


def batch():
    torch.manual_seed(5)
    return {
        "eeg": torch.randn(6, 5, 40),
        "image": 20 * torch.randn(6, 128),
        "text": torch.randn(6, 77, 128),
        "stimulus": torch.tensor([0, 0, 1, 2, 3, 4]),
        "subject": ["01"] * 6,
        "latent": torch.randn(6, 12, 16, 16),
    }


def test_each_preset_is_the_loss_that_it_names():
    given = batch()
    ours, released = made().eval(), made(preset="released").eval()
    latent, rebuilt = ours.autoencoder(given["eeg"])

    def expected(text, groups, axis, weight):
        parts = (
            losses.signal_dice(rebuilt, given["eeg"]),
            losses.info_nce(latent.mean(1), given["image"], losses.SYNAPSE_SCALE, groups),
            losses.token_cosine(latent, text, axis),
            F.mse_loss(rebuilt, given["eeg"]),
            F.mse_loss(latent, text.expand_as(latent)),
        )
        return weight * sum(parts)

    torch.testing.assert_close(ours(given, "align")["loss"], expected(given["text"], given["stimulus"], "feature", 1.0))
    torch.testing.assert_close(released(given, "align")["loss"], expected(given["text"][:1], None, "token", 0.5))
    assert set(ours(given, "align")) == {"loss", *LOSSES}


def test_the_release_darkens_pictures_and_leaves_out_the_mask_and_an_argument_takes_precedence():
    ours, released = made(), made(preset="released")
    assert (ours.space.shift, ours.latent.shift, ours.text.which) == (0.0, 0.0, "conditioning")
    assert (released.space.shift, released.latent.shift, released.text.which) == (-0.5, -0.5, "unmasked")
    assert made(preset="released", image_shift=0.0).latent.shift == 0.0
    assert released.image_space.shift == 0.0  # drawings are scored as they are


def test_times_and_weights_of_the_drawing_are_those_of_the_preset(seen, monkeypatch):
    told = []

    def loss(predict, clean, scheduler, gamma, generator, times):
        told.append((gamma, times))
        return clean.mean()

    monkeypatch.setattr("phosphene.methods.synapse.denoising_loss", loss)
    given = {**batch(), "inputs": torch.randn(6, 77, 128)}
    for changes in ({}, {"preset": "released"}, {"preset": "released", "min_snr": "equal", "times": "late"}):
        made(**changes)(given, "draw")
    assert told == [(None, "late"), (0.5, "uniform"), (None, "late")]


def test_learned_weights_are_trained_and_begin_as_the_halves_of_the_release():
    given = batch()
    learned, halves = made(weights="learned").eval(), made(weights=0.5).eval()
    torch.testing.assert_close(
        learned(given, "align")["loss"], halves(given, "align")["loss"] + len(LOSSES) * torch.tensor(2.0).log()
    )
    assert any(p is learned.spreads for p in learned.trained("align"))
    assert not any(p is learned.spreads for p in learned.trained("draw"))


def test_the_second_stage_leaves_the_encoder_and_the_rest_of_the_unet_as_they_were(seen):
    method = made()
    fit(method, seen, settings=QUICK, select_on="last")
    before = {k: v.clone() for k, v in method.autoencoder.state_dict().items()}
    tuned = {k: v.clone() for k, v in method.draw.state_dict().items()}
    step = torch.optim.AdamW(method.trained("draw"), lr=1e-2, weight_decay=0.1)
    method.train()
    for _ in range(2):
        method({**batch(), "inputs": torch.randn(6, 77, 128)}, "draw")["loss"].backward()
        step.step()
    for name, value in method.autoencoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in method.autoencoder.parameters())
    assert any(not torch.equal(v, tuned[k]) for k, v in method.draw.state_dict().items())
    stock = load_unet("mini")[0].state_dict()
    moved = {name.removeprefix("tuned.") for name in tuned}
    frozen = [name for name in stock if name not in moved]
    assert len(frozen) > 100
    whole = method.draw.unet.state_dict()
    for name in frozen:
        assert torch.equal(whole[name], stock[name]), name


def test_the_frozen_encoder_has_no_dropout_in_the_second_stage_unless_the_release_is_meant(seen):
    ours, released = made(), made(preset="released")
    inputs = ours.inputs("draw", seen)
    assert inputs.shape == (len(seen), 77, 128)
    assert torch.equal(inputs, ours.inputs("draw", seen))
    assert ours.inputs("align", seen) is None
    assert released.inputs("draw", seen) is None
    given, read = batch(), []
    with torch.no_grad():
        settled = released.eval().autoencoder.Encoder(given["eeg"])
    released.draw.register_forward_pre_hook(lambda module, arguments: read.append(arguments[2]))
    released.drop = 0.0
    released.train()(given, "draw")["loss"].backward()
    assert not torch.allclose(read[0], settled, atol=1e-3)  # as dropout left it
    assert all(p.grad is None for p in released.autoencoder.parameters())


def test_validation_of_the_drawing_draws_the_same_noise(seen):
    method = made().eval()
    given = {**batch(), "inputs": torch.randn(6, 77, 128)}
    with torch.no_grad():
        first, second = (method(given, "draw")["loss"] for _ in range(2))
    assert torch.equal(first, second)


def test_what_is_drawn_from_is_the_latent_and_what_the_adapter_adds(fitted, seen):
    some = seen.select(range(4))
    tokens = fitted.condition(some).tokens
    assert tokens.shape == (4, 81, 128)
    torch.testing.assert_close(tokens[:, :77], fitted.tokens(some))
    torch.testing.assert_close(fitted.encode(some)["image"], tokens[:, :77].mean(dim=1))
    plain = Diffusion(steps=2)
    drawn = fitted.drawn_by(plain)(fitted.condition(some))
    assert [len(pictures) for pictures in drawn] == [1] * 4
    assert drawn[0][0].size == (128, 128)
    assert plain.pipeline.unet is not fitted.draw.unet
    without = fit(made(n_adapter=0), seen, settings=QUICK, select_on="last")
    assert without.condition(some).tokens.shape == (4, 77, 128)
    without.drawn_by(plain)(without.condition(some))


def test_volts_are_read_as_what_is_standardised(seen):
    volts, microvolts = (replace(seen, eeg=scale * seen.eeg) for scale in (1.0, 1e6))
    size = float(np.sqrt(np.mean(np.square(volts.eeg, dtype=float))))
    a, b = (
        fit(made(drawing="frozen"), trials, settings=QUICK_ALIGN, select_on="last") for trials in (volts, microvolts)
    )
    assert float(a.size_of_eeg) == pytest.approx(size, rel=1e-5)
    read, same = a.tokens(volts), b.tokens(microvolts)
    assert float((read - same).square().mean()) < 1e-5 * float(same.var())
    released = fit(made(drawing="frozen", preset="released"), volts, settings=QUICK_ALIGN, select_on="last")
    assert float(released.size_of_eeg) == 1.0


def test_a_saved_method_draws_as_before(fitted, seen, tmp_path):
    again = Method.from_pretrained(fitted.save(tmp_path / "model"))
    torch.testing.assert_close(again.condition(seen).tokens, fitted.condition(seen).tokens)
    given = torch.randn(1, 12, 16, 16), torch.tensor([300.0]), torch.randn(1, 77, 128)
    with torch.no_grad():
        torch.testing.assert_close(again.draw(*given), fitted.draw(*given))
    held = sum(p.numel() for p in again.parameters())
    assert held == sum(p.numel() for p in again.autoencoder.parameters()) + sum(
        p.numel() for p in again.draw.parameters()
    )


def test_a_saved_method_stays_as_it_was_when_the_preset_changes(fitted, tmp_path, monkeypatch):
    fitted.save(tmp_path / "m")
    others = {"image_shift": -0.5, "weights": 0.5, "min_snr": 5.0, "times": "uniform", "states": "unmasked"}
    monkeypatch.setitem(synapse.PRESETS, "default", synapse.PRESETS["default"] | others)
    again = Method.from_pretrained(tmp_path / "m")
    assert (again.chosen, again.weights, again.gamma) == (fitted.chosen, fitted.weights, fitted.gamma)


def test_the_controls_have_no_second_stage(seen):
    label = fit(made(drawing="label"), seen, settings=Training(epochs=2, batch_size=8), select_on="last")
    prompts = label.condition(seen).prompt
    assert {prompt.rpartition(" ")[2] for prompt in prompts} <= set(SHAPE["concepts"])
    image = label.encode(seen)["image"]
    nearest = (F.normalize(image, dim=-1) @ label.centres.T).argmax(1)
    assert prompts == [f"a photo of a {SHAPE['concepts'][i]}" for i in nearest]
    untuned = fit(made(drawing="frozen"), seen, settings=Training(epochs=1, batch_size=8), select_on="last")
    assert untuned.condition(seen).tokens.shape == (len(seen), 77, 128)
    generator = Diffusion()
    assert label.drawn_by(generator) is untuned.drawn_by(generator) is generator


def test_label_centres_are_the_mean_pictures_of_their_concepts(seen):
    label = fit(made(drawing="label"), seen, settings=Training(epochs=1, batch_size=8), select_on="last")
    vectors = F.normalize(label.space.table(seen.stimuli).vectors, dim=-1)
    own = vectors[[c == "c2" for c in seen.stimuli["concept"]]].mean(0)
    torch.testing.assert_close(label.centres[2], F.normalize(own, dim=0))


def test_the_text_is_what_the_unet_reads(seen):
    method = made()
    table = method.targets()["text"].table(seen.stimuli)
    torch.testing.assert_close(table.vectors, TextStates().states(seen.stimuli["ObjectSnap"]))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"preset": "relaesed"}, "did you mean 'released'"),
        ({"drawing": "labels"}, "did you mean 'label'"),
        ({"autoencoder": "tiny"}, "unknown autoencoder 'tiny'"),
        ({"captions": "one"}, "unknown captions 'one'"),
        ({"cosine": "features"}, "did you mean 'feature'"),
        ({"weights": {"simm": 1.0}}, "did you mean 'sim'"),
        ({"times": "latest"}, "unknown times 'latest'"),
        ({"min_snr": "equals"}, "did you mean 'equal'"),
        ({"min_snr": 0.0}, "min_snr is 0.0: give a number above 0"),
        ({"diffusion": "sd15", "drawing": "frozen"}, "one width"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes, line):
    with pytest.raises(PhospheneError, match=line) as error:
        made(**changes)
    assert "\n" not in str(error.value)


def test_only_the_backbone_that_was_tuned_draws(fitted):
    with pytest.raises(PhospheneError, match="set generator.backbone"):
        fitted.drawn_by(Diffusion(backbone="sd21"))


class Killed(Exception):
    """What stops a training in the middle."""


def test_a_drawing_that_is_killed_between_two_checkpoints_ends_as_the_uninterrupted_one(seen, tmp_path):
    settings = Training(
        epochs=1, batch_size=8, stages={"draw": {"epochs": 2, "accumulate": 2, "ema": 0.9, "checkpoint_every": 1}}
    )

    def trained(folder, stop=None):
        rows = []

        def log(row):
            rows.append(row)
            if (row["stage"], row["epoch"]) == stop:
                raise Killed

        method = made()
        fit(method, seen, settings=settings, select_on="last", folder=folder, log=log)
        return method, {(row["stage"], row["epoch"]): row["loss"] for row in rows}

    whole, curve = trained(tmp_path / "whole")
    with pytest.raises(Killed):
        trained(tmp_path / "killed", ("draw", 1))
    again, later = trained(tmp_path / "killed")
    assert ("draw", 2) in later
    assert all(curve[key] == loss for key, loss in later.items())
    for name, value in again.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name


def test_batches_hold_what_a_stage_reads_and_no_more(seen):
    held = {}

    class Watched(SYNAPSE):
        def training_step(self, batch, stage):
            held[stage] = set(batch)
            return super().training_step(batch, stage)

    torch.manual_seed(0)
    fit(Watched(**SHAPE), seen, settings=Training(epochs=1, batch_size=12), select_on="last")
    assert held["align"] == {"eeg", "image", "text", "stimulus", "subject"}
    assert held["draw"] == {"inputs", "latent", "stimulus", "subject"}

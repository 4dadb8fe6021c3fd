"""ATM: what the presets stand for, which parameters each stage trains, and who has a token."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from backbones.published import git_row
from conftest import make_trials
from phosphene.backbones import table as backbones
from phosphene.errors import PhospheneError
from phosphene.losses import info_nce
from phosphene.methods.atm import ATM, PRESETS
from phosphene.methods.base import Method
from phosphene.networks.caption_adapter import RidgeTokens
from phosphene.training.fit import Training, fit

SMALL = {"kernel": 5, "pool": 9, "stride": 3}
SHAPE = {"n_chans": 5, "n_times": 40, "sfreq": 100.0, "encoder_args": SMALL}


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    return make_trials(tmp_path_factory.mktemp("seen"), subjects=("01", "02"))


def batch(dim):
    torch.manual_seed(5)
    return {
        "eeg": torch.randn(6, 5, 40),
        "image": 20 * torch.randn(6, dim),
        "text": 10 * torch.randn(6, dim),
        "stimulus": torch.tensor([0, 0, 1, 2, 3, 4]),
        "subject": ["01"] * 6,
    }


def _retrieval(eeg, scale, given):
    parts = (info_nce(eeg, F.normalize(given[key], dim=1), scale, normalise=False) for key in ("image", "text"))
    return sum(weight * part for weight, part in zip((0.99, 0.01), parts, strict=True))


LOSSES = {
    "default": lambda eeg, scale, given: info_nce(eeg, given["image"], scale.exp(), groups=given["stimulus"]),
    "atm2024": _retrieval,
    "atm2024-generation": lambda eeg, scale, given: (
        9 * F.mse_loss(eeg, given["image"]) + info_nce(eeg, given["image"], scale, normalise=False)
    ),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_is_the_loss_that_it_names(preset):
    method = ATM(**SHAPE, preset=preset).eval()
    given = batch(method.space.dim)
    expected = LOSSES[preset](method.embed(given["eeg"]), method.logit_scale, given).item()
    assert method.training_step(given, "align")["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert ("text" in method.targets()) == (preset == "atm2024")


def test_the_released_presets_are_faulty_where_they_say_so_and_an_argument_takes_precedence():
    ours, released = ATM(**SHAPE), ATM(**SHAPE, preset="atm2024")
    assert (released.prior.clip_sample, released.prior.standardise, released.prior.guidance) == (True, False, 5.0)
    assert (ours.prior.clip_sample, ours.prior.standardise) == (False, True)
    assert (released.encoder.encoder.first, ours.encoder.encoder.first) == (0, 1)  # the first token that is read
    repaired = ATM(**SHAPE | {"encoder_args": {"token_slice": "fixed", **SMALL}}, preset="atm2024", similarity="cosine")
    assert (repaired.similarity, repaired.encoder.encoder.first) == ("cosine", 1)
    assert ATM(**SHAPE, preset="atm2024", prior="ridge").solved == ("prior",)


def test_a_saved_method_stays_as_it_was_when_the_preset_changes(tmp_path, monkeypatch):
    made = ATM(5, 120, preset="atm2024", text=0.5)
    made.save(tmp_path / "m")
    others = {"similarity": "cosine", "mse": 3.0, "encoder_args": {"depth": 3}, "prior_args": {"steps": 7}}
    monkeypatch.setitem(PRESETS, "atm2024", PRESETS["atm2024"] | others)
    again = Method.from_pretrained(tmp_path / "m")
    assert (again.config, again.weights) == (made.config, made.weights)
    assert (again.config["encoder_args"], again.unit_targets) == ({"token_slice": "legacy"}, True)
    assert again.prior.steps == 50


def test_the_sentence_of_the_released_code_is_the_text(seen):
    target = ATM(**SHAPE, preset="atm2024").targets()["text"]
    assert target.content(seen.stimuli)[0] == f"This picture is {seen.stimuli['concept'].iloc[0]}"


@pytest.mark.parametrize("prior", ["diffusion", "ridge"])
def test_the_prior_is_trained_on_what_the_finished_encoder_makes(seen, prior, tmp_path):
    known = seen.select(concept=["c0", "c1", "c2", "c3"])
    settings = Training(epochs=2, batch_size=16, stages={} if prior == "ridge" else {"prior": {"epochs": 3}})
    torch.manual_seed(0)
    method, rows = ATM(**SHAPE, prior=prior), []
    fit(method, known, settings=settings, select_on="last", log=rows.append)
    assert [r["stage"] for r in rows] == ["align"] * 2 + ["prior"] * (3 if prior == "diffusion" else 1)
    torch.manual_seed(0)
    first = ATM(**SHAPE, prior=prior)
    first.stages = ("align",)
    fit(first, known, settings=Training(epochs=2, batch_size=16), select_on="last")
    for (name, own), other in zip(method.state_dict().items(), first.state_dict().values(), strict=True):
        assert torch.equal(own, other) or name.startswith("prior."), name
    embeds = method.condition(known).image_embeds
    assert embeds.shape == (len(known), method.space.dim)
    torch.testing.assert_close(method.condition(known).image_embeds, embeds)
    again = Method.from_pretrained(method.save(tmp_path / "m"))
    torch.testing.assert_close(again.condition(known).image_embeds, embeds)


def test_subjects_have_tokens_and_a_stranger_the_shared_one(seen):
    torch.manual_seed(0)
    method = ATM(**SHAPE, subjects=["01", "02"]).eval()
    eeg = torch.randn(1, 5, 40)
    one, two, nobody, stranger = (method.embed(eeg, who) for who in (["01"], ["02"], None, ["09"]))
    assert not torch.allclose(one, two, atol=1e-5)
    torch.testing.assert_close(nobody, stranger)
    with pytest.raises(PhospheneError, match="encoder 'nice' has no place for subjects"):
        ATM(**SHAPE, encoder="nice", subjects=["01"])
    with pytest.raises(PhospheneError, match="subjects: true is for a run"):
        ATM(**SHAPE, subjects=True)


def test_bad_settings_name_the_fix():
    with pytest.raises(PhospheneError, match="unknown preset 'atm2025' of atm: did you mean 'atm2024'"):
        ATM(**SHAPE, preset="atm2025")
    with pytest.raises(PhospheneError, match=r"without a preset atm needs negatives: give it, or a preset \(default, "):
        ATM(**SHAPE, preset=None, similarity="raw")
    with pytest.raises(PhospheneError, match="nothing would be learned"):
        ATM(**SHAPE, contrastive=0.0)


def test_the_low_level_path_learns_latents_and_starts_the_drawing(seen):
    known = replace(seen, eeg=1e6 * seen.eeg).select(concept=["c0", "c1", "c2", "c3"])
    torch.manual_seed(0)
    method, rows = ATM(**SHAPE, prior="ridge", low_level="small", strength=0.25), []
    fit(
        method,
        known,
        settings=Training(epochs=1, batch_size=16, stages={"low_level": {"epochs": 25, "lr": 0.01}}),
        select_on="last",
        log=rows.append,
    )
    losses = [r["loss"] for r in rows if r["stage"] == "low_level"]
    assert losses[-1] < 0.9 * losses[0]
    conditioning = method.condition(known)
    assert conditioning.given() == {"image_embeds", "init", "strength"}
    assert (len(conditioning.init), conditioning.strength) == (len(known), 0.25)
    latents = method.latents(known)
    assert latents.shape[1:] == method.latent.shape
    with pytest.raises(PhospheneError, match="'atm' trains no 'low_level'"):
        fit(ATM(**SHAPE), known, settings=Training(epochs=1, stages={"low_level": {}}))


@pytest.fixture
def captioned(tmp_path, monkeypatch):
    """Settings of a method that captions by a small GIT of random weights."""
    monkeypatch.setitem(backbones.BACKBONES, "tiny-git", git_row(tmp_path / "git"))
    return {**SHAPE, "prior": "ridge", "captioner": "tiny-git"}


def test_a_captioner_says_what_the_decoded_embedding_shows(seen, captioned, tmp_path):
    known = seen.select(concept=["c0", "c1", "c2", "c3"])
    torch.manual_seed(0)
    method, rows = ATM(**captioned), []
    assert (method.stages, method.solved) == (("align", "prior", "caption"), ("prior", "caption"))
    assert set(method.targets()) == {"image"}  # no batch holds visual tokens
    assert {name for name in method.state_dict() if name.startswith("caption.")} == {
        "caption.mean_in",
        "caption.scale_in",
        "caption.weight",
        "caption.mean_out",
    }
    fit(
        method,
        known,
        settings=Training(epochs=2, batch_size=16),
        select_on="last",
        folder=tmp_path / "fit",
        log=rows.append,
    )
    assert [r["stage"] for r in rows] == ["align"] * 2 + ["prior", "caption"]

    conditioning = method.condition(known)
    assert conditioning.given() == {"image_embeds", "prompt"}
    assert conditioning.prompt == method.say(conditioning.image_embeds)
    assert len(conditioning.prompt) == len(known)
    assert len(set(conditioning.prompt)) > 3  # they follow the embedding
    again = Method.from_pretrained(method.save(tmp_path / "m"))
    assert again.condition(known).prompt == conditioning.prompt
    assert method.say(torch.empty(0, method.space.dim)) == []

    # the map is the ridge regression from the embeddings of the training pictures, and of no others, to their tokens
    shown = known.stimuli[known.stimuli.index.isin(known.table["stimulus"])]
    embeds, tokens = method.space.embed(shown), method.visual.embed(shown)
    assert len(shown) == 8 < len(known.stimuli)
    plain = RidgeTokens(method.space.dim, *method.visual.shape).fit(embeds, tokens)
    torch.testing.assert_close(method.caption(embeds), plain(embeds), atol=5e-3, rtol=1e-3)
    assert plain.alpha_ == method.caption.alpha_


def test_captions_stand_beside_the_low_level_path_and_change_neither_embedding_nor_start(seen, captioned):
    known = seen.select(concept=["c0", "c1", "c2", "c3"])
    found = []
    for captioner in ("tiny-git", None):
        torch.manual_seed(0)
        method = ATM(**captioned | {"captioner": captioner}, low_level="small")
        fit(method, known, settings=Training(epochs=1, batch_size=16), select_on="last")
        found.append(method.condition(known.select(concept=["c0"], subject="01")))
    assert found[0].given() == {"image_embeds", "init", "strength", "prompt"}
    torch.testing.assert_close(found[0].image_embeds, found[1].image_embeds)
    assert [p.tobytes() for p in found[0].init] == [p.tobytes() for p in found[1].init]


def test_a_captioner_that_is_none_is_named(seen, captioned):
    with pytest.raises(PhospheneError, match="unknown caption backbone 'git-large': did you mean 'git-large-coco'"):
        ATM(**captioned | {"captioner": "git-large"})
    with pytest.raises(PhospheneError, match=r"visual tokens were not learned: call fit"):
        ATM(**captioned).say(torch.zeros(1, 128))

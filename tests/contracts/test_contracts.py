"""Every registered class keeps its noun's contract; a new one is tested by being registered."""

import inspect
import json

import numpy as np
import pytest
import torch

from conftest import make_trials
from phosphene.datasets.base import Dataset
from phosphene.encoders.base import Encoder
from phosphene.errors import MissingExtra, PhospheneError
from phosphene.generators.base import Conditioning, Generator
from phosphene.methods.base import Classifier, Method
from phosphene.registry import PACKAGES, classes
from phosphene.targets.base import Target

BASES = {"dataset": Dataset, "target": Target, "encoder": Encoder, "generator": Generator, "method": Method}
EVERY = [(kind, name) for kind in PACKAGES for name in classes(kind)]


def cases(kind):
    return list(classes(kind).items())


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_it_has_its_base_and_says_what_it_is(kind, name):
    cls = classes(kind)[name]
    assert issubclass(cls, BASES.get(kind, object))
    assert cls.__doc__
    assert cls.__module__.startswith(PACKAGES[kind])
    parameters = [p for p in inspect.signature(cls).parameters.values() if p.default is not p.empty]
    json.dumps([p.default for p in parameters])  # the constructor is the config


@pytest.mark.parametrize(("name", "cls"), cases("dataset"))
def test_datasets_state_their_facts(name, cls, tmp_path):
    assert cls.licence
    assert cls.citation
    assert cls.design in ("rapid", "block", "oddball")
    assert isinstance(cls.caveats, tuple)
    with pytest.raises(PhospheneError, match="does not exist"):
        cls(tmp_path / "nowhere")
    with pytest.raises(PhospheneError):
        cls(tmp_path).chosen()


@pytest.mark.parametrize(("name", "cls"), cases("encoder"))
def test_encoders_map_batches_to_vectors(name, cls):
    torch.manual_seed(0)
    try:
        encoder = cls(n_chans=5, n_times=100, n_outputs=12, sfreq=100.0)
    except MissingExtra as error:
        pytest.skip(str(error))
    eeg = torch.randn(4, 5, 100)
    out = encoder.train()(eeg)
    assert out.shape == (4, 12)
    out.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    encoder.eval()
    with torch.inference_mode():
        whole = encoder(eeg)
        torch.testing.assert_close(encoder(eeg), whole)
        torch.testing.assert_close(encoder(eeg[2:3]), whole[2:3], rtol=1e-4, atol=1e-5)  # a trial stands for itself
    again = cls(n_chans=5, n_times=100, n_outputs=12, sfreq=100.0)
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again.eval()(eeg), whole)
    with pytest.raises(PhospheneError, match="was built for"):
        encoder(eeg[:, :4])


@pytest.mark.parametrize(("name", "cls"), cases("method"))
def test_methods_fit_encode_save_and_load(name, cls, tmp_path):
    from phosphene.training.fit import Training, fit

    trials = make_trials(tmp_path / "pictures", n_times=100)
    known = trials.select(concept=["c0", "c1", "c2", "c3"])
    torch.manual_seed(0)
    facts = cls.taken(n_chans=trials.n_chans, n_times=100, sfreq=100.0, concepts=["c0", "c1", "c2", "c3"])
    method = cls(**facts)
    assert set(method.solved) <= set(method.stages)
    assert set(method.config) == set(inspect.signature(cls).parameters)
    assert cls(**json.loads(json.dumps(method.config))).config == method.config
    assert (cls.decodes == "concepts") == issubclass(cls, Classifier)
    assert method.citation
    fit(method, known, settings=Training(epochs=1, batch_size=8), select_on="last")
    heads = method.encode(known)
    assert set(heads) <= set(method.targets())
    for head, vectors in heads.items():
        assert vectors.shape[0] == len(known)
        assert vectors.isfinite().all()
        gallery = method.targets()[head].table(known.stimuli.loc[sorted(set(known.table["stimulus"]))]).vectors
        rows, values = method.retrieve(known, gallery, k=3, head=head)
        assert rows.shape == values.shape == (len(known), 3)
        assert (values[:, :-1] >= values[:, 1:]).all()
    with pytest.raises(PhospheneError, match="has no head"):
        method.retrieve(known, gallery, head="none")
    again = Method.from_pretrained(method.save(tmp_path / "model"))
    assert type(again) is cls
    for head, vectors in again.encode(known).items():
        torch.testing.assert_close(vectors, heads[head])
    # one trial decodes as it does among the others
    alone = method.encode(known.select(np.arange(len(known)) == 3))
    for head, vectors in alone.items():
        torch.testing.assert_close(vectors[0], heads[head][3], rtol=1e-4, atol=1e-5)
    (tmp_path / "model" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(PhospheneError, match="train again"):
        Method.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize(("name", "cls"), cases("generator"))
def test_generators_refuse_what_they_cannot_use(name, cls):
    fields = {"prompt", "tokens", "negative_tokens", "image_embeds", "init", "strength"}
    assert cls.accepts <= fields
    generator = cls.__new__(cls)
    for field in fields - cls.accepts - {"init", "strength", "negative_tokens"}:
        given = Conditioning(**{field: ["a"] if field == "prompt" else torch.zeros(1, 2, 3)})
        with pytest.raises(PhospheneError, match=f"cannot use '{field}'"):
            generator.check(given)

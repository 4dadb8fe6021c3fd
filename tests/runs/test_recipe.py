import pytest
import yaml

from phosphene.errors import PhospheneError
from phosphene.runs.recipe import SHIPPED, Recipe, parse_overrides

MINIMAL = {"name": "x", "dataset": {"name": "synthetic", "root": "somewhere"}, "method": {"name": "nice"}}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_is_valid(name):
    recipe = Recipe.read(name, {"dataset.root": "somewhere"})
    assert Recipe.read(yaml.safe_load(yaml.safe_dump(recipe.model_dump(mode="json")))) == recipe


def test_overrides_reach_every_depth():
    values = parse_overrides(
        ["protocol.seed=7", "method.encoder_args={dropout: 0.1}", "window=[0.0, 0.5]", "generator=null"]
    )
    recipe = Recipe.read(MINIMAL, values)
    assert recipe.protocol.seed == 7
    assert recipe.method["encoder_args"] == {"dropout": 0.1}
    assert recipe.window == (0.0, 0.5)
    small = Recipe.read(MINIMAL, parse_overrides(["preprocessing.reject=1e-4"]))  # text to YAML 1.1
    assert small.steps().reject == 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocl.seed": 1}, "unknown key 'protocl': did you mean 'protocol'"),
        ({"protocol.sede": 1}, r"unknown key 'protocol\.sede': did you mean 'seed'"),
        ({"training.epoch": 1}, "did you mean 'epochs'"),
        ({"training.epochs": "many"}, r"training\.epochs: .*given: 'many'"),
        ({"method.encodr": "nice"}, "unknown key 'encodr' of method 'nice': did you mean 'encoder'"),
        ({"method.name": "nicer"}, "unknown method 'nicer': did you mean 'nice'"),
        ({"dataset": {"root": "x"}}, "dataset has no 'name'"),
        ({"dataset": {"name": "synthetic"}}, r"add --set dataset\.root="),
        ({"preprocessing.hfreq": 30}, "did you mean 'h_freq'"),
        ({"preprocessing.reject": "a lot"}, "preprocessing: reject: .*given: 'a lot'"),
        ({"method.cosine_weight": []}, "method 'nice': cosine_weight"),
        ({"name.first": "x"}, "'name' is a single value"),
        ({"whitening": "some"}, "whitening"),
    ],
)
def test_bad_recipes_name_the_fix(change, message):
    with pytest.raises(PhospheneError, match=message):
        Recipe.read(MINIMAL, change)


def test_unreadable_files(tmp_path):
    with pytest.raises(PhospheneError, match="does not exist"):
        Recipe.read(tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [1")
    with pytest.raises(PhospheneError, match="not readable YAML") as caught:
        Recipe.read(bad)
    assert "\n" not in str(caught.value)
    bad.write_text("just words")
    with pytest.raises(PhospheneError, match="is not a recipe"):
        Recipe.read(bad)
    bad.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(PhospheneError, match="not readable YAML"):
        Recipe.read(bad)
    with pytest.raises(PhospheneError, match="is not key=value"):
        parse_overrides(["seed"])


def test_a_key_that_is_given_twice_is_refused_and_not_the_last_one_taken(tmp_path):
    (tmp_path / "x.yaml").write_text("dataset: {name: arrays, root: here, root: there}")
    with pytest.raises(PhospheneError, match="'root' is given twice: keep one") as error:
        Recipe.read(tmp_path / "x.yaml")
    assert "\n" not in str(error.value)


def test_null_takes_the_settings_of_a_stage_away_and_of_no_other():
    given = {"dataset.root": "here", "training.stages.draw": None}
    assert list(Recipe.read("eegcvpr40-synapse", given).training.stages) == ["align"]
    with pytest.raises(PhospheneError, match=r"cannot remove 'training\.stages\.darw': did you mean 'draw'"):
        Recipe.read("eegcvpr40-synapse", {"dataset.root": "here", "training.stages.darw": None})


def test_a_key_that_was_called_otherwise_is_read_and_told(tmp_path, caplog):
    old = {**MINIMAL, "evaluation": {"twin": False, "n_perm": 99}}
    found = Recipe.read(old)
    assert (found.evaluation.shuffled_control, found.evaluation.n_perm) == (False, 99)
    assert caplog.messages == ["the recipe: evaluation.twin is called evaluation.shuffled_control now"]
    assert Recipe.filled(old) == found.what()  # a run folder of before goes on
    for none in (None, [], "x", 3, {"name": 1}):  # what is no recipe is another one
        assert Recipe.filled(none) == none
    assert not Recipe.read(MINIMAL, {"evaluation.twin": False}).evaluation.shuffled_control
    new = {**MINIMAL, "evaluation": {"shuffled_control": True}}
    assert not Recipe.read(new, {"evaluation.twin": False}).evaluation.shuffled_control
    caplog.clear()
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(old))
    assert not Recipe.read(path).evaluation.shuffled_control
    assert caplog.messages == []

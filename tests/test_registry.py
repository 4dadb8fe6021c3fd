import pytest

from phosphene import registry
from phosphene.errors import PhospheneError


def test_every_kind_holds_something():
    for kind in registry.PACKAGES:
        assert registry.classes(kind), kind


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("encodr", "nice"), "unknown kind 'encodr': did you mean 'encoder'"),
        (("encoder", "nise"), "unknown encoder 'nise': did you mean 'nice'"),
    ],
)
def test_unknown_names_give_the_nearest(arguments, message):
    with pytest.raises(PhospheneError, match=message):
        registry.build(*arguments)


def test_unknown_argument_gives_the_nearest():
    with pytest.raises(PhospheneError, match=r"unknown key 'n_chan' of encoder 'nice': did you mean 'n_chans'"):
        registry.build("encoder", "nice", n_chan=3)


def test_a_name_is_taken_once():
    with pytest.raises(PhospheneError, match="rename one"):
        registry.register("encoder", "nice")(type("Other", (), {}))


def test_numbers_and_text_stand_for_each_other(tmp_path):
    assert registry.build("dataset", "muse", root=str(tmp_path), subject=3).subject == ["3"]
    assert registry.build("method", "nice", n_chans=4, n_times=100, cosine_weight="1e-1").cosine_weight == 0.1

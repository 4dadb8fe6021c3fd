"""Five regions of caps that are named, numbered, or neither."""

from phosphene.analyses import regions_of
from phosphene.datasets.things.channels import CHANNELS, REGIONS
from phosphene.eeg.montages import standard_montage
from phosphene.eeg.trials import Signal


def located(names, montage, called=None):
    """A signal with a montage's positions, its channels named otherwise."""
    info = Signal(tuple(names), 100.0).to_info().set_montage(standard_montage(montage), verbose="error")
    positions = tuple(tuple(channel["loc"][:3]) for channel in info["chs"])
    return Signal(tuple(called or names), 100.0, positions=positions)


def grouped(table):
    return {name: set(own["channel"]) for name, own in table.groupby("region")}


def test_the_published_cap_by_name_and_by_position():
    expected = {name: set(channels) for name, channels in REGIONS.items()}
    found = regions_of(Signal(CHANNELS, 250.0))
    assert list(found["channel"]) == list(CHANNELS)
    assert set(found["by"]) == {"name"}
    assert grouped(found) == expected
    numbered = [f"E{i}" for i in range(63)]
    by_position = regions_of(located(CHANNELS, "standard_1005", numbered))
    assert set(by_position["by"]) == {"position"}
    assert list(by_position["region"]) == list(found["region"])


def test_old_and_half_row_names():
    found = regions_of(Signal(("T3", "T5", "t4", "FFC1h", "POO9h", "Iz", "FPz", "CCP2h"), 100.0))
    assert list(found["region"]) == [
        "temporal",
        "parietal",
        "temporal",
        "frontal",
        "occipital",
        "occipital",
        "frontal",
        "central",
    ]


def test_a_numbered_cap_goes_by_position_though_some_numbers_look_like_names():
    montage = standard_montage("biosemi128")
    found = regions_of(located(montage.ch_names, "biosemi128")).set_index("channel")
    assert set(found["by"]) <= {"position", "left out"}
    assert found.loc["A23", "region"] == "occipital"  # Oz
    assert found.loc["C17", "region"] == "frontal"  # Fpz
    assert (found["region"] != "").mean() > 0.7
    assert set(found.loc[found["region"] != "", "region"]) == set(REGIONS)


def test_what_lies_nowhere_is_left_out_and_named():
    found = regions_of(Signal(("Fz", "Oz", "EOG1", "M1", "Nz"), 100.0)).set_index("channel")
    assert list(found["by"]) == ["name", "name", "left out", "left out", "left out"]
    assert list(found["region"]) == ["frontal", "occipital", "", "", ""]
    far = Signal(("Fz", "Oz", "EOG1"), 100.0, positions=((0, 0.09, 0.07), (0, -0.1, 0.02), (0.0, 0.0, -0.1)))
    assert list(regions_of(far)["by"]) == ["name", "name", "left out"]

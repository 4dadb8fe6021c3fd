"""The channels of THINGS-EEG2: their published order, the posterior ones, and five regions."""

from phosphene.eeg.montages import CHANNELS_63

#: 63 EEG channels in the order of the 250 Hz files (ATM, NICE, UBP, NeuroBridge)
CHANNELS = CHANNELS_63

#: the 17 channels whose names start with O or P, those of Gifford et al. 2022
POSTERIOR = CHANNELS[46:]

#: region -> its channels; every channel lies in one region
REGIONS: dict[str, tuple[str, ...]] = {
    "frontal": CHANNELS[:15],
    "central": tuple(["FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6", "C5", "C3", "C1", "Cz", "C2", "C4", "C6"]),
    "temporal": tuple(["FT9", "FT7", "T7", "TP9", "TP7", "TP8", "TP10", "T8", "FT8", "FT10"]),
    "parietal": tuple(
        ["CP5", "CP3", "CP1", "CPz", "CP2", "CP4", "CP6", "P7", "P5", "P3", "P1", "Pz", "P2", "P4", "P6", "P8"]
    ),
    "occipital": CHANNELS[55:],
}

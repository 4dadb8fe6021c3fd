"""The channels of THINGS-EEG2: their published order, the posterior ones, and five regions."""

#: 63 EEG channels in the order of the 250 Hz files (ATM, NICE, UBP, NeuroBridge)
CHANNELS = (
    "Fp1", "Fp2", "AF7", "AF3", "AFz", "AF4", "AF8", "F7", "F5", "F3", "F1", "F2", "F4", "F6", "F8",
    "FT9", "FT7", "FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6", "FT8", "FT10",
    "T7", "C5", "C3", "C1", "Cz", "C2", "C4", "C6", "T8",
    "TP9", "TP7", "CP5", "CP3", "CP1", "CPz", "CP2", "CP4", "CP6", "TP8", "TP10",
    "P7", "P5", "P3", "P1", "Pz", "P2", "P4", "P6", "P8", "PO7", "PO3", "POz", "PO4", "PO8", "O1", "Oz", "O2",
)  # fmt: skip

#: the 17 channels whose names start with O or P, those of Gifford et al. 2022
POSTERIOR = CHANNELS[46:]

#: region -> its channels; every channel lies in one region
REGIONS = {
    "frontal": CHANNELS[:15],
    "central": (
        "FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6", "C5", "C3", "C1", "Cz", "C2", "C4", "C6",
    ),
    "temporal": ("FT9", "FT7", "T7", "TP9", "TP7", "TP8", "TP10", "T8", "FT8", "FT10"),
    "parietal": (
        "CP5", "CP3", "CP1", "CPz", "CP2", "CP4", "CP6", "P7", "P5", "P3", "P1", "Pz", "P2", "P4", "P6", "P8",
    ),
    "occipital": CHANNELS[55:],
}  # fmt: skip

"""The one table of what can be fetched, from where, and under which terms."""

from dataclasses import dataclass

from phosphene.errors import PhospheneError, nearest

_THINGS_EEG2 = (
    "Gifford, Dwivedi, Roig & Cichy (2022). A large and rich EEG dataset for modeling human visual object recognition. "
    "NeuroImage 264, 119754."
)


@dataclass(frozen=True)
class Source:
    """A row of `SOURCES`. Names, sizes and checksums of files are asked of the host when it is fetched."""

    name: str
    what: str
    host: str
    """`osf`, `figshare`, `openneuro` or `hub`; `hand` where a form or a share must be clicked."""
    ids: tuple[str, ...]
    """What the host calls it; the first that answers is taken."""
    page: str
    citation: str
    licence: str = ""
    """Where it is known beforehand; the host's own words are shown beside it."""
    only: str = "*"
    """The files that belong to it, among all that the host has there."""
    title: str = ""
    """Words that the host's own title must hold, so that a wrong id is noticed before anything is downloaded."""
    by_hand: tuple[str, ...] = ()
    """The files that a person puts in place."""


SOURCES = {
    row.name: row
    for row in (
        Source(
            "things-eeg2",
            "THINGS-EEG2, the whole project with its components: raw and preprocessed EEG, pictures",
            "osf",
            ("3jk45",),
            "https://osf.io/3jk45/",
            _THINGS_EEG2,
        ),
        Source(
            "things-eeg2-raw",
            "THINGS-EEG2, raw EEG: 10 subjects, 4 sessions, 64 channels, 1000 Hz",
            "osf",
            ("anp5v",),
            "https://osf.io/anp5v/",
            _THINGS_EEG2,
        ),
        Source(
            "things-eeg2-images",
            "THINGS-EEG2, the 16,540 training and 200 test pictures",
            "osf",
            ("jum2f", "y63gw"),
            "https://osf.io/3jk45/",
            _THINGS_EEG2,
        ),
        Source(
            "things-eeg2-figshare",
            "THINGS-EEG2, the authors' copy on figshare",
            "figshare",
            ("18470912",),
            "https://doi.org/10.25452/figshare.plus.18470912",
            _THINGS_EEG2,
            title="human visual object recognition",
        ),
        Source(
            "things-eeg2-atm",
            "THINGS-EEG2 as ATM takes it: 250 Hz, 63 channels, whitened; features of the pictures",
            "hub",
            ("LidongYang/EEG_Image_decode",),
            "https://huggingface.co/datasets/LidongYang/EEG_Image_decode",
            "Li et al. (2024). Visual Decoding and Reconstruction via EEG Embeddings with Guided Diffusion. NeurIPS; "
            f"arXiv:2403.07721. Data: {_THINGS_EEG2}",
            licence="apache-2.0",
        ),
        Source(
            "things-eeg2-ubp",
            "THINGS-EEG2 as UBP takes it",
            "hub",
            ("Haitao999/things-eeg",),
            "https://huggingface.co/datasets/Haitao999/things-eeg",
            _THINGS_EEG2,
        ),
        Source(
            "things-meg",
            "THINGS-MEG, preprocessed epochs (-epo.fif): 4 subjects, 271 sensors, 12 sessions, 200 Hz",
            "openneuro",
            ("ds004212/derivatives/",),
            "https://openneuro.org/datasets/ds004212",
            "Hebart et al. (2023). THINGS-data, a multimodal collection of large-scale datasets for investigating "
            "object representations in human brain and behavior. eLife 12, e82580.",
            only="*preprocessed_P*-epo*.fif",
        ),
        Source(
            "eegcvpr40",
            "EEGCVPR40: 6 subjects, 40 ImageNet classes shown in blocks, 128 channels, 1 kHz; four signal files",
            "hand",
            (),
            "https://tinyurl.com/eeg-visual-classification",
            "Spampinato et al. (2017). Deep Learning Human Mind for Automated Visual Classification. CVPR.",
            by_hand=(
                "eeg_5_95_std.pth",
                "eeg_14_70_std.pth",
                "eeg_55_95_std.pth",
                "eeg_signals_raw_with_mean_std.pth",
                "block_splits_by_image_all.pth",
                "block_splits_by_image_single.pth",
            ),
        ),
    )
}


def source(name: str) -> Source:
    """The row of that name, or of that id at its host (`LidongYang/EEG_Image_decode`)."""
    for row in SOURCES.values():
        if name == row.name or name in row.ids:
            return row
    raise PhospheneError(f"unknown data set '{name}': {nearest(name, SOURCES)}")


def table() -> str:
    """The table as text, a line for each row."""
    return "\n".join(f"{row.name:<22}{row.host:<11}{row.what}" for row in SOURCES.values())

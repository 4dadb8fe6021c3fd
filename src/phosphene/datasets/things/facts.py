"""What each form of THINGS-EEG2 is known to hold."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Facts:
    """Counts of one form; those that a form does not fix are None.

    Parameters
    ----------
    subjects, sessions : subjects in all, sessions of each.
    train_images, images_per_concept, train_repeats : 1,654 concepts x 10 pictures, 4 presentations of each.
    test_images, test_repeats : 200 concepts x 1 picture, 80 presentations of each.
    n_chans, n_times, sfreq (Hz), tmin (s) : of the array as stored.
    """

    subjects: int = 10
    sessions: int | None = 4
    train_images: int = 16540
    images_per_concept: int = 10
    train_repeats: int = 4
    test_images: int = 200
    test_repeats: int = 80
    n_chans: int = 63
    n_times: int | None = 250
    sfreq: float = 250.0
    tmin: float = 0.0

    def images(self, part: str) -> int:
        """Pictures of "train" or "test"."""
        return self.train_images if part == "train" else self.test_images

    def repeats(self, part: str) -> int:
        """Presentations of each picture, over all sessions."""
        return self.train_repeats if part == "train" else self.test_repeats


#: form -> its facts (Gifford et al. 2022, section 2; the files of ATM, NICE, UBP and NeuroBridge)
FACTS = {
    "source": Facts(n_times=None, sfreq=1000.0),
    "raw": Facts(n_times=None, sfreq=1000.0),
    "preprocessed_63": Facts(sessions=None),
    "preprocessed_17": Facts(sessions=None, n_chans=17, n_times=100, sfreq=100.0, tmin=-0.2),
    "ubp": Facts(sessions=None),
    "neurobridge": Facts(sessions=None),
}

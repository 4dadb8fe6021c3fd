"""Which channels are electrodes: what their names say, and the types that a user gives.

Amplifiers and converters hand over everything that they recorded, and many files say of all of it that it is EEG.
Decoded as EEG, a marker channel tells the answer, and an eye or a light sensor much of it. Names of electrodes are many
(10-05, `E1`, `A1`, `1`, `LH3`), so what is known here are the names of everything else.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from phosphene.errors import PhospheneError, nearest

if TYPE_CHECKING:
    import mne

#: what `preprocessing.channel_types` may say: MNE's types of what is recorded beside and in place of EEG
TYPES = (
    "eeg",
    "eog",
    "ecg",
    "emg",
    "misc",
    "stim",
    "resp",
    "gsr",
    "temperature",
    "bio",
    "eyegaze",
    "pupil",
    "syst",
    "seeg",
    "ecog",
    "dbs",
    "ref_meg",
)

MARKERS, _PICKS = "markers", "preprocessing.picks"
_N = r"(_?\d+)?"
#: what it is -> its names, whole, in lower case, with "_" for every space, dot and hyphen
_NAMES: dict[str, tuple[str, ...]] = {
    MARKERS: (
        rf"(sti|stim|stimulus|status|trig|triggers?|trg|marks?|markers?|events?|ttl|din|sync|digital){_N}",
        rf"(trig|trigger|stim|marker|event|digital)_?(in|input|ch|chan|channel|code|hardware|index|type|value\w*){_N}",
        r"([eb]df_)?annotations?",
    ),
    "EOG": (
        r"\w*eog\w*",
        r"[hv]eo[lrud]?",
        r"io",
        r"(lo|io|so)[12]",
        r"[lr]oc(_\w+)?",
        r"\w*eye\w*",
        r"\w*(gaze|pupil|canth)\w*",
        r"[xy]pos_\w+",
        r"blinks?",
    ),
    "ECG": (r"\w*e[ck]g\w*", r"heart\w*", r"hrv?", r"ibi"),
    "EMG": (r"\w*emg\w*", r"chin\w*", r"[lr]?legs?(_\w+)?", r"\w*(masseter|corrugator|zygomatic|tibialis)\w*"),
    "skin conductance": (rf"(gsr|eda|scr|scl){_N}", r"(gsr|eda|scr|scl)_\w+", r"skin\w*", r"electrodermal\w*"),
    "breathing": (
        r"resp\w*",
        r"breath\w*",
        r"belt",
        r"thora\w*",
        r"abdom\w*",
        r"(air)?flow",
        r"nasal\w*",
        r"snor\w*",
    ),
    "pulse or blood": (
        r"pleth?\w*",
        r"ppg\w*",
        r"bvp\w*",
        r"pulse\w*",
        r"s[ap]_?o_?2\w*",
        r"osat",
        r"bp",
        r"optics\w*",
    ),
    "temperature": (rf"temp(erature)?{_N}", r"temp(erature)?_\w+"),
    "light sensor": (
        r"\w*photo\w*",
        r"photic\w*",
        r"\w*diode\w*",
        rf"(light|lux|ldr|luminance)(_?sensor)?{_N}",
        r"pd\d?",
    ),
    "sound": (rf"(mic|microphone|audio|sound|speech|voice){_N}", r"(audio|sound|speech)_\w+"),
    "motion": (
        r"(acc|accel|accelero\w*|gyro?|gyroscopes?|magn?|magnetom\w*|imu|quat\w*)(_?(channel|ch))?_?([wxyz]|[0-3]|\d_[xyz])?",
        r"[xyz]_?(acc\w*|gyr\w*|mag\w*|dir\w*)",
        r"mot_\w+",
    ),
    "counter or clock": (
        r"\w*counter\w*",
        r"cnt",
        r"interpolated",
        r"(sample|packet|frame|sequence)s?(_?(number|index|nr?|count|id))?",
        r"index",
        r"\w*time_?stamps?\w*",
        r"time(_?(s|ms|us))?",
        r"(system|unix|lsl|local|device)_?time\w*",
        r"clock",
    ),
    "signal quality": (
        r"(cq|eq|raw_?cq|hsi)(_\w+)?",
        r"\w*quality\w*",
        r"impedances?\w*",
        r"imp_\w+",
        r"valid\w*",
        r"highbitflex",
        r"saturation\w*",
        r"headband\w*",
        r"(pow|pm|delta|theta|alpha|beta|gamma)_\w+",
    ),
    "battery": (r"bat(t|tery)?(_?(level|percent|pct|voltage|v|low))?" + _N,),
    "other input": (
        r"(l|r|left|right)?_?aux\w*",
        r"bip\w*",
        r"e(xg|rg)_?\d+",
        r"dc_?\d*",
        r"misc_?\d*",
        r"other" + _N,
        r"(adc|ana|analog|analogue)(_?(in|input|ch|channel))?" + _N,
        r"force\w*",
        r"grip\w*",
        r"joystick\w*",
        r"buttons?" + _N,
        r"mouse\w*",
        r"pressure\w*",
        r"respon[sc]e\w*",
    ),
}
_KNOWN = {what: re.compile("|".join(f"(?:{name})" for name in names)) for what, names in _NAMES.items()}
#: short names that an intracranial shaft may have too: it has contacts beyond the fourth
_SHAFT = re.compile(r"(lo|io|so|acc|mag|pd|dc|bp)_?(\d+)")


def what_it_is(name: str) -> str | None:
    """What the name of a channel says that it holds, such as "EOG"; None where it may be an electrode's."""
    plain = _plain(name)
    return next((what for what, names in _KNOWN.items() if names.fullmatch(plain)), None)


def no_electrodes(names: Sequence[str]) -> dict[str, str]:
    """Those channels whose names are no electrodes, and what they are."""
    numbered = {name: m for name in names if (m := _SHAFT.fullmatch(_plain(name)))}
    shafts = {m[1] for m in numbered.values() if int(m[2]) > 4}
    found = {name: what_it_is(name) for name in names if name not in numbered or numbered[name][1] not in shafts}
    return {name: what for name, what in found.items() if what is not None}


def left_out(names: Sequence[str], picks: Sequence[str] | None = None, types: Iterable[str] = ()) -> list[str]:
    """The channels, of those said to be EEG, that are no electrodes by their names.

    Parameters
    ----------
    names : channels of type EEG.
    picks : the channels that the user wants; None for every electrode.
    types : channels whose type the user gave.

    Raises
    ------
    PhospheneError
        For a marker channel that would be used: it says what was shown, and as EEG it would be decoded. And if no
        electrode is left.
    """
    found = {name: what for name, what in no_electrodes(names).items() if name not in types}
    wanted = set(names if picks is None else picks)
    markers = [name for name, what in found.items() if what == MARKERS and name in wanted]
    if markers:
        raise PhospheneError(
            f"channel {_quoted(markers)} holds markers, not EEG: set its type to stim "
            f"(preprocessing.channel_types: {{{markers[0]}: stim}}), or leave it out of {_PICKS}"
        )
    if picks is None and found and len(found) == len(names):
        raise PhospheneError(
            f"no channel name is that of an electrode ({_listed(found)}): mark the EEG channels, "
            f"preprocessing.channel_types: {{{names[0]}: eeg}}"
        )
    return [name for name in found if picks is None or name not in wanted]


def note_of(names: Sequence[str]) -> list[str]:
    """The note about channels that were left out because of their names; none if there are none."""
    found = {name: what_it_is(name) or "" for name in names}
    told = "preprocessing.channel_types can say that one is eeg"
    return [f"channels left out, no electrodes by their names: {_listed(found)} ({told})"] if found else []


def check_types(types: Mapping[str, str] | None) -> dict[str, str] | None:
    """The types as MNE writes them; an unknown one is refused with the nearest."""
    if types is None:
        return None
    checked = {}
    for name, kind in types.items():
        if str(kind).casefold() not in TYPES:
            raise PhospheneError(f"channel_types: '{name}' is '{kind}', no type of channel: {nearest(kind, TYPES)}")
        checked[str(name)] = str(kind).casefold()
    return checked


def check_known(types: Mapping[str, str] | None, names: Sequence[str]) -> None:
    """Refuse types of channels that there are not."""
    for name in types or ():
        if name not in names:
            raise PhospheneError(f"channel_types: there is no channel '{name}': {nearest(name, names)}")


def retype(data: "mne.io.BaseRaw | mne.BaseEpochs | mne.Info", types: Mapping[str, str]) -> None:
    """Set types as they are said, in place."""
    try:
        data.set_channel_types(dict(types), on_unit_change="ignore", verbose="error")
    except RuntimeError as error:  # MNE: part of a projector
        line = " ".join(str(error).split())
        raise PhospheneError(f"types of channels cannot be set ({line}): call del_proj() on the recording") from None


def set_types(
    data: "mne.io.BaseRaw | mne.BaseEpochs | mne.Info",
    types: Mapping[str, str] | None,
    picks: Sequence[str] | None = None,
) -> list[str]:
    """Set the types that the user gives; EEG channels whose names are no electrodes become misc.

    Parameters
    ----------
    data : is changed.
    types : channel -> type.
    picks : the channels that the user wants; None for every electrode.

    Returns
    -------
    The channels that became misc.
    """
    check_known(types, data.ch_names)
    retype(data, types or {})
    kinds = dict(zip(data.ch_names, data.get_channel_types(), strict=True))
    for name in picks or ():
        if kinds.get(name) == "stim":
            raise PhospheneError(f"channel '{name}' holds markers, not EEG (type stim): leave it out of {_PICKS}")
    gone = left_out([name for name, kind in kinds.items() if kind == "eeg"], picks, types or ())
    retype(data, dict.fromkeys(gone, "misc"))
    return gone


def _plain(name: str) -> str:
    """The name without what converters put around it: "EEG VEOG-REF" is "veog", "ACC X [g]" is "acc_x"."""
    bare = re.sub(r"[\s_]*[\[(][^\])]*[\])]\s*$", "", name.strip()) or name
    bare = re.sub(r"[\W_]+", "_", bare.casefold()).strip("_")
    bare = re.sub(r"^(eeg|pol)_(?=\w)", "", bare)
    return re.sub(r"(?<=\w)_(ref|le|ar|avg|av)$", "", bare)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _listed(found: Mapping[str, str]) -> str:
    """The names by what they are: "VEOG, HEOG (EOG), Photo (light sensor)"."""
    kinds: dict[str, list[str]] = {}
    for name, what in found.items():
        kinds.setdefault(what, []).append(name)
    return ", ".join(f"{', '.join(names)} ({what})" for what, names in kinds.items())

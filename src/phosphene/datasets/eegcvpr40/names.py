"""EEGCVPR40: the names of its 128 channels, in the order of the files, and of its 40 classes; which are animals."""

_CAP = """
Fp1 Fp2 F7 F3 Fz F4 F8 FC5 FC1 FC2 FC6 T7 C3 Cz C4 T8 TP9 CP5 CP1 CP2 CP6 TP10 P7 P3 Pz P4 P8 PO9 O1 Oz O2 PO10
AF7 AF3 AF4 AF8 F5 F1 F2 F6 FT9 FT7 FC3 FC4 FT8 FT10 C5 C1 C2 C6 TP7 CP3 CPz CP4 TP8 P5 P1 P2 P6 PO7 PO3 POz PO4 PO8
Fpz F9 AFF5h AFF1h AFF2h AFF6h F10 FTT9h FTT7h FCC5h FCC3h FCC1h FCC2h FCC4h FCC6h FTT8h FTT10h TPP9h TPP7h CPP5h
CPP3h CPP1h CPP2h CPP4h CPP6h TPP8h TPP10h POO9h POO1 POO2 POO10h Iz
AFp1 AFp2 FFT9h FFT7h FFC5h FFC3h FFC1h FFC2h FFC4h FFC6h FFT8h FFT10h TTP7h CCP5h CCP3h CCP1h CCP2h CCP4h CCP6h
TTP8h P9 PPO9h PPO5h PPO1h PPO2h PPO6h PPO10h P10 I1 OI1h OI2h I2
"""
CHANNELS = tuple(_CAP.split())
"""(128,) 10-05 names. 0 to 38 were published with the data; 39 to 65 agree with what others use; 66 to 127 are in the
order of an actiCAP with 128 electrodes, which fits but was not published."""

CLASSES = {
    "n02106662": "German shepherd",
    "n02124075": "Egyptian cat",
    "n02281787": "lycaenid butterfly",
    "n02389026": "sorrel horse",
    "n02492035": "capuchin monkey",
    "n02504458": "African elephant",
    "n02510455": "giant panda",
    "n02607072": "anemone fish",
    "n02690373": "airliner",
    "n02906734": "broom",
    "n02951358": "canoe",
    "n02992529": "mobile phone",
    "n03063599": "coffee mug",
    "n03100240": "convertible car",
    "n03180011": "desktop computer",
    "n03197337": "digital watch",
    "n03272010": "electric guitar",
    "n03272562": "electric locomotive",
    "n03297495": "espresso maker",
    "n03376595": "folding chair",
    "n03445777": "golf ball",
    "n03452741": "grand piano",
    "n03584829": "clothes iron",
    "n03590841": "jack-o'-lantern",
    "n03709823": "mailbag",
    "n03773504": "missile",
    "n03775071": "mitten",
    "n03792782": "mountain bike",
    "n03792972": "mountain tent",
    "n03877472": "pajamas",
    "n03888257": "parachute",
    "n03982430": "pool table",
    "n04044716": "radio telescope",
    "n04069434": "reflex camera",
    "n04086273": "revolver",
    "n04120489": "running shoe",
    "n07753592": "banana",
    "n07873807": "pizza",
    "n11939491": "daisy",
    "n13054560": "bolete mushroom",
}
"""WordNet id -> name. Sorted; the order of a file's labels is another one, and is read from the file."""

# Ours, from the names: animate is an animal. A daisy and a mushroom live too, but stand with banana and pizza among the
# things, so that one word, animal, says what the category is.
ANIMALS = frozenset(
    {
        "n02106662",
        "n02124075",
        "n02281787",
        "n02389026",
        "n02492035",
        "n02504458",
        "n02510455",
        "n02607072",
    }
)
"""The WordNet ids of the eight classes that are animals."""


def category_of(wnid: str) -> str:
    """Whether a class is "animate", an animal, or "inanimate"; "" if it is not one of `CLASSES`."""
    return ("animate" if wnid in ANIMALS else "inanimate") if wnid in CLASSES else ""

"""Slots that contradict each other: rules over what captions name, count, colour and place. Nothing is guessed.

A caption is cut into phrases at commas, prepositions and the like. The head of a phrase is its last known noun, else
its last word. Two captions of one picture contradict each other where

- colour: the same head has colours on both sides and none in common; "something" and "thing" stand for the main object
  (the first phrase) among slots about the object;
- count: the same head is counted on both sides ("a", "two", "3") and no count is common;
- object: both are about the object, both first heads are known nouns, they are neither one thing by two names nor a
  thing and its kind, and neither caption names the other's head at all;
- side: spatial slots that each name one side of the picture, and not the same;
- time: one says day and the other night.

The words are data (`words.yaml`). An unknown word leads to no finding: the rules are made to be right when they speak,
not to find everything. Negations and irony are beyond them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from phosphene.captions.slots import Slot
from phosphene.utils.files import parse_yaml

RULES = ("colour", "count", "object", "side", "time")
_TOKEN = re.compile(r"[a-z]+|\d+|[^\w\s]")
_EMPTY = re.compile(r"\b(?:empty|nothing|no|free|bare)\b")


class Contradiction(NamedTuple):
    """``rule`` of `RULES`, the two slots' names, and what each says."""

    rule: str
    slot: str
    other: str
    says: str
    says_other: str


@dataclass
class _Phrase:
    head: str = ""
    known: bool = False
    generic: bool = False
    count: int | None = None
    colours: set[str] = field(default_factory=set)


class _Words:
    """`words.yaml`, turned round for look-ups."""

    def __init__(self, data: dict[str, Any]):
        self.generic, self.adjectives, self.stops = (set(data[k]) for k in ("generic", "adjectives", "stops"))
        self.numbers: dict[str, int] = data["numbers"]
        self.plurals: dict[str, str] = data["plurals"]
        self.colours, self.sides, self.times = (
            {word: name for name, words in data[k].items() for word in words} for k in ("colours", "sides", "times")
        )
        self.one_name = {word: words[0] for words in data["same"] for word in words}
        self.parents: dict[str, set[str]] = {}
        for kind, members in data["kinds"].items():
            self.parents.setdefault(self.name(kind), set())
            for word in members:
                self.parents.setdefault(self.name(word), set()).add(self.name(kind))
        self.nouns = set(self.parents) | set(self.one_name)

    def name(self, word: str) -> str:
        return self.one_name.get(word, word)

    def singular(self, word: str) -> str:
        if word in self.plurals:
            return self.plurals[word]
        if word in self.nouns | self.generic or not word.endswith("s") or word.endswith("ss"):
            return word
        ends = [word[:-1], word[:-2]] if word.endswith("es") else [word[:-1]]
        ends += [word[:-3] + "y"] if word.endswith("ies") else []
        return next((w for w in ends if w in self.nouns), ends[-1] if word.endswith("ies") else ends[0])

    def above(self, name: str) -> set[str]:
        """The kinds that a thing is of, itself among them."""
        found, new = {name}, {name}
        while new:
            new = {kind for one in new for kind in self.parents.get(one, ())} - found
            found |= new
        return found

    def akin(self, a: str, b: str) -> bool:
        return a in self.above(b) or b in self.above(a)


@cache
def _words() -> _Words:
    return _Words(parse_yaml(Path(__file__).with_name("words.yaml").read_text(encoding="utf-8")))


def contradictions(said: Mapping[str, str], slots: Sequence[Slot]) -> list[Contradiction]:
    """Those among the captions of one picture.

    Parameters
    ----------
    said : slot name -> caption.
    slots : their slots; level and what they are about decide which rules are asked.
    """
    told = [(slot, said[slot.name]) for slot in slots if said.get(slot.name)]
    phrases = {slot.name: _phrases(caption) for slot, caption in told}
    found = []
    for (a, x), (b, y) in combinations(told, 2):
        p, q = phrases[a.name], phrases[b.name]
        both_objects = a.about == b.about == "object"
        pairs: list[tuple[str, set[Any], set[Any]]] = []
        if "thematic" not in (a.level, b.level):
            pairs += [("colour", *c) for c in _colours(p, q, both_objects)]
            pairs += [("count", *c) for c in _counts(p, q)]
        if both_objects:
            pairs += [("object", *c) for c in _objects(p, q)]
        if a.level == b.level == "spatial":
            pairs += [("side", *c) for c in _one_each(_classes(x, _words().sides), _classes(y, _words().sides))]
        if "object" not in (a.level, b.level):
            pairs += [("time", *c) for c in _one_each(_classes(x, _words().times), _classes(y, _words().times))]
        for rule, here, there in pairs:
            found.append(Contradiction(rule, a.name, b.name, *(", ".join(sorted(map(str, s))) for s in (here, there))))
    return found


_Pair = tuple[set[Any], set[Any]]


def _colours(p: list[_Phrase], q: list[_Phrase], both_objects: bool) -> list[_Pair]:
    here, there = (
        {head: _union(x, head) for head in {f.head for f in x if f.colours and not f.generic}} for x in (p, q)
    )
    pairs = [(here[head], there[head]) for head in sorted(here.keys() & there.keys())]
    if both_objects:
        vague, vague_too = (set().union(*(f.colours for f in x if f.generic)) for x in (p, q))
        main, main_too = (x[0].colours if x and not x[0].generic else set() for x in (p, q))
        pairs += [(vague, main_too), (main, vague_too), (vague, vague_too)]
    return [(x, y) for x, y in pairs if x and y and not x & y]


def _union(phrases: list[_Phrase], head: str) -> set[str]:
    return set().union(*(f.colours for f in phrases if f.head == head))


def _counts(p: list[_Phrase], q: list[_Phrase]) -> list[_Pair]:
    here, there = ([f for f in x if f.count is not None and not f.generic] for x in (p, q))
    pairs = [
        ({f.count for f in here if f.head == head}, {f.count for f in there if f.head == head})
        for head in sorted({f.head for f in here} & {f.head for f in there})
    ]
    return [(x, y) for x, y in pairs if not x & y]


def _objects(p: list[_Phrase], q: list[_Phrase]) -> list[_Pair]:
    if not p or not q or not (p[0].known and q[0].known) or any(f.generic for f in (*p, *q)):
        return []
    words = _words()
    if any(words.akin(p[0].head, f.head) for f in q) or any(words.akin(q[0].head, f.head) for f in p):
        return []
    return [({p[0].head}, {q[0].head})]


def _one_each(here: set[str], there: set[str]) -> list[_Pair]:
    return [(here, there)] if len(here) == len(there) == 1 and here != there else []


def _classes(caption: str, classes: Mapping[str, str]) -> set[str]:
    """The classes named in a caption, clauses about emptiness aside."""
    clauses = [c for c in re.split(r"[,;.]", caption.casefold()) if not _EMPTY.search(c)]
    return {classes[w] for c in clauses for w in _TOKEN.findall(c) if w in classes}


def _phrases(caption: str) -> list[_Phrase]:
    """The phrases with a head, in order."""
    words = _words()
    text = re.sub(r"\b(?:an? )?(?:pair|couple) of\b", "two", caption.casefold())
    found: list[_Phrase] = []
    held: list[str] = []
    now = _Phrase()

    def end(carry: bool = False) -> None:
        nonlocal held, now
        nouns = [w for w in held if w not in words.adjectives]
        known = [w for w in nouns if words.name(words.singular(w)) in words.nouns]
        generic = [w for w in nouns if words.singular(w) in words.generic]
        if carry and not held and now.colours:  # "a red | and | white car"
            return
        head = (known or generic or nouns)[-1] if nouns else ""
        if head:
            single = words.singular(head)
            now.head, now.known, now.generic = words.name(single), bool(known), bool(generic and not known)
            found.append(now)
        elif now.colours and found and found[-1].colours:  # "something red and | white"
            found[-1].colours |= now.colours
        held, now = [], _Phrase()

    tokens = _TOKEN.findall(text)
    for i, token in enumerate(tokens):
        after = tokens[i + 1] if i + 1 < len(tokens) else ""
        if token in words.numbers and not (token == "one" and held):
            end()
            now.count = words.numbers[token]
        elif token.isdigit():
            end()
            now.count = int(token)
        elif token in ("the", "this", "some", "no", "several", "many"):
            end()
        elif token in words.sides or not token.isalpha() or token in words.stops:
            if token != "-":
                end(carry=token in ("and", "-", ","))
        elif token in words.colours and not _is_fruit(token, tokens[i - 1] if i else "", after):
            now.colours.add(words.colours[token])
        elif token.endswith(("ing", "ed")) and words.singular(token) not in words.nouns | words.generic:
            if held and token not in words.adjectives:
                end()  # "a thing | covered with stripes"; before the noun it is an adjective
        else:
            held.append(token)
    end()
    return found


def _is_fruit(token: str, before: str, after: str) -> bool:
    """ "an orange", "a rose": the thing, not its colour."""
    return (
        token in ("orange", "rose")
        and before in ("a", "an", "the", "one")
        and (not after.isalpha() or after in _words().stops)
    )

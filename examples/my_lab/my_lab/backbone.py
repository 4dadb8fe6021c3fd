"""A CLIP of one's own: a folder, or a repository of the Hub, that `CLIPModel.from_pretrained` reads."""

from phosphene.backbones.table import ASSETS, Backbone, Shapes, add

add(
    Backbone(
        "my-clip",
        "clip",
        str(ASSETS / "mini" / "clip"),
        "BSD-3-Clause",
        Shapes(tokens=(77, 128), image=128),
        size=128,
        note="an example: the CLIP of mini by another name",
    )
)

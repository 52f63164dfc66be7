"""Models and LoRAs as clients of several servers name them."""

from __future__ import annotations

import pytest

from sdxl.catalog.find import AmbiguousNameError, Named, find

A, B, C = "ab" * 32, "ac" * 32, "ab" * 31 + "cd"
DREAM = Named(name="anime/Dream", file="anime/Dream.safetensors", hashes=(A,))
OTHER = Named(name="real/Other v1.5", file="real/Other v1.5.safetensors", hashes=(B,))
TWIN = Named(name="real/Dream2", file="real/Dream2.safetensors", hashes=(C,))
SMALL = Named(name="dream", file="dream.safetensors")
HUB = Named(name="name/model")
HEX = Named(name="acacacac", file="acacacac.safetensors")
CAFE = Named(name="Café", file="Café.safetensors")
ALL = (DREAM, OTHER, TWIN, SMALL, HUB, HEX, CAFE)


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("anime/Dream", DREAM),
        ("anime/dream", DREAM),
        ("anime\\Dream.safetensors", DREAM),
        ("ANIME/DREAM.SAFETENSORS", DREAM),
        ("Dream", DREAM),  # the last part, with its case
        ("dream", SMALL),
        ("DREAM", SMALL),  # a whole name comes before the last part of one
        ("dream.safetensors", SMALL),
        ("Other v1.5", OTHER),
        ("other V1.5.safetensors", OTHER),
        ("Other v1.5.safetensors [acacacacac]", OTHER),
        ("real\\Other v1.5.safetensors [acacacacac]", OTHER),
        (" Other v1.5 [ACACACACAC] ", OTHER),
        ("renamed.safetensors [acacacacac]", OTHER),
        ("dream.safetensors [0123456789]", SMALL),  # whose hash is not known
        ("Other v1.5.safetensors [0123456789]", None),  # another file
        (f"Dream.safetensors [{A[:10]}]", DREAM),  # both begin so, one is called so
        (B[:8], HEX),
        (B[:10], OTHER),
        (B[:10].upper(), OTHER),
        (B[:7], None),
        (A, DREAM),
        (C, TWIN),
        ("model", HUB),
        ("Cafe\u0301", CAFE),
        ("nothing", None),
        ("", None),
        (".safetensors", None),
        ("anime", None),
    ],
)
def test_what_is_meant(wanted: str, meant: Named | None) -> None:
    assert find(wanted, ALL) == meant


def test_what_may_mean_several() -> None:
    with pytest.raises(AmbiguousNameError, match=r"^several are meant alike: anime/Dream, real/Dream2$"):
        find(A[:10], ALL)
    with pytest.raises(AmbiguousNameError, match="meant alike: a/x, b/x"):
        find("x", [Named(name="a/x"), Named(name="b/x")])
    with pytest.raises(AmbiguousNameError, match="meant alike: Ab, aB"):
        find("ab", [Named(name="Ab"), Named(name="aB")])
    assert find("aB", [Named(name="Ab"), Named(name="aB")]) == Named(name="aB")
    many = [Named(name=f"{number}/x") for number in range(20)]
    with pytest.raises(AmbiguousNameError, match=r"0/x, 1/x, .*7/x and 12 more$"):
        find("x", many)

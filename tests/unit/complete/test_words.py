"""Words of headers: whole ones match, and kernels are known by their vendors' names."""

import pytest

from ich_node.complete.words import Kernel, kernel_of, matched


@pytest.mark.parametrize(
    ("word", "text", "hit"),
    [
        ("cta", "HEAD CTA 1.0", True),
        ("cta", "OCTAVE", False),
        ("perf*", "brain_perfusion", True),
        ("w o", "head w/o", True),
        ("+c", "head +C", True),
        ("?spine", "CSPINE", True),
        ("?spine", "SPINE", False),
        ("a.c", "abc", False),
        ("", "head", False),
    ],
)
def test_words_match_whole_words_whatever_their_case(word: str, text: str, hit: bool) -> None:
    assert (matched([word] if word else [], text) is not None) is hit


@pytest.mark.parametrize(
    ("name", "kernel"),
    [
        ("STANDARD", Kernel.SOFT),
        ("STD+", Kernel.SOFT),
        ("BONEPLUS", Kernel.BONE),
        ("UB", Kernel.SOFT),
        ("YA", Kernel.BONE),
        ("FC26", Kernel.SOFT),
        ("FC64", Kernel.SOFT),
        ("FC30", Kernel.BONE),
        ("FC81", Kernel.BONE),
        ("H31s", Kernel.SOFT),
        ("J40s", Kernel.SOFT),
        ("Hr38", Kernel.SOFT),
        ("Hc40f", Kernel.SOFT),
        ("H60s", Kernel.BONE),
        ("Hr59h", Kernel.BONE),
        ("B70f", Kernel.BONE),
        ("", Kernel.UNKNOWN),
        ("SOMETHING NEW", Kernel.UNKNOWN),
    ],
)
def test_kernel_names_of_the_vendors(name: str, kernel: Kernel) -> None:
    assert kernel_of(name) == kernel

import unicodedata
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from cleanplate.pairing import Pair, Pairing, key, pair

stems = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)


def codes(files: list[str]) -> dict[str, str]:
    return {fault.item: fault.code for fault in pair(files)[1]}


def test_an_image_pairs_with_the_mask_of_its_name_whatever_their_formats() -> None:
    pairs, faults = pair(["red.shoe.jpg", "red.shoe_mask.webp"])
    assert pairs == [Pair("red.shoe", "red.shoe.jpg", "red.shoe_mask.webp")]
    assert faults == []


def test_a_folder_is_part_of_the_name() -> None:
    pairs, faults = pair(["a/1.png", "b/1_mask.png"])
    assert pairs == []
    assert {fault.item: fault.code for fault in faults} == {"a/1.png": "missing_mask", "b/1_mask.png": "missing_image"}


def test_case_and_unicode_form_do_not_part_a_pair_and_the_name_is_the_images() -> None:
    decomposed = unicodedata.normalize("NFD", "Café")
    pairs, _ = pair([f"{decomposed}.JPG", "CAFÉ_MASK.PNG"])
    assert pairs == [Pair("Café", f"{decomposed}.JPG", "CAFÉ_MASK.PNG")]


def test_two_images_of_one_name_are_refused_with_their_mask_for_nobody_can_tell_which_is_meant() -> None:
    assert codes(["a.jpg", "a.png", "a_mask.png"]) == dict.fromkeys(["a.jpg", "a.png", "a_mask.png"], "ambiguous_pair")


def test_two_masks_for_one_image_are_refused() -> None:
    assert set(codes(["a.jpg", "a_mask.png", "A_mask.webp"]).values()) == {"ambiguous_pair"}


def test_the_suffix_alone_is_an_image_called_so() -> None:
    assert codes(["_mask.png"]) == {"_mask.png": "missing_mask"}


def test_another_suffix_can_be_asked_for() -> None:
    pairs, _ = pair(["a.jpg", "a-m.png"], "-m")
    assert pairs == [Pair("a", "a.jpg", "a-m.png")]


@given(st.sets(stems, max_size=8), st.sets(stems, max_size=8))
def test_every_file_is_in_one_pair_or_in_one_fault(images: set[str], masks: set[str]) -> None:
    files = {f"{stem}.jpg" for stem in images} | {f"{stem}_mask.png" for stem in masks}
    pairs, faults = pair(files)
    seen = [file for found in pairs for file in (found.image, found.mask)] + [fault.item for fault in faults]
    assert sorted(seen) == sorted(files)
    assert len({found.name for found in pairs}) == len(pairs)


@given(st.sets(stems, min_size=1, max_size=8))
def test_the_order_of_the_files_does_not_matter(images: set[str]) -> None:
    files = [f"{stem}{end}" for stem in sorted(images) for end in (".jpg", "_mask.png")]
    assert pair(files) == pair(reversed(files))


def test_as_they_come_a_pair_is_taken_when_it_is_whole_and_what_comes_later_under_its_name_is_refused() -> None:
    pairing = Pairing()
    came = ["a_mask.png", "b.jpg", "A.jpg", "b.png", "a.webp", "b_mask.png", "a_mask.png", "c.jpg"]
    assert [pairing.add(file) for file in came] == [None, None, Pair("A", "A.jpg", "a_mask.png"), *[None] * 5]
    told = sorted((fault.item, fault.code) for fault in pairing.rejected())
    late = [(file, "ambiguous_pair") for file in ("a.webp", "a_mask.png", "b.jpg", "b.png", "b_mask.png")]
    assert told == [*late, ("c.jpg", "missing_mask")]


@given(st.sets(stems, max_size=8), st.sets(stems, max_size=8), st.randoms())
def test_where_no_two_files_are_alike_the_order_in_which_they_come_does_not_matter(
    images: set[str], masks: set[str], random: Random
) -> None:
    images, masks = ({key(stem): stem for stem in found}.values() for found in (images, masks))
    files = [f"{stem}.jpg" for stem in images] + [f"{stem}_mask.png" for stem in masks]
    random.shuffle(files)
    pairing = Pairing()
    taken = [found for file in files if (found := pairing.add(file))]
    pairs, faults = pair(files)
    assert {found.image for found in taken} == {found.image for found in pairs}
    assert {fault.item for fault in pairing.rejected()} == {fault.item for fault in faults}

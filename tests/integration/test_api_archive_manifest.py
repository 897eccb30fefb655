"""Archives with a manifest: its rows say what belongs together, and each fault names its line."""

import httpx

from tests.api import Api, problem
from tests.archives import create, created, entries, jobs, pairs, rejections
from tests.pictures import BAD_MASK, IMAGE, MASK
from tests.zips import Entry, crafted, zipped


def test_a_manifest_says_what_belongs_together(client: httpx.Client) -> None:
    text = (
        "image,mask,custom_id,dilate_pixels,output_format,metadata.sku\r\n"
        "red.jpg,masks/one.png,RED-1,22,webp,S-1\r\n"
        "red.jpg,Masks/TWO.png,RED-2,,,\r\n"
        "blue.jpg,,,,,S-3\r\n"
    )
    files = {"p/Manifest.csv": b"\xef\xbb\xbf" + text.encode(), "p/red.jpg": IMAGE, "p/blue.jpg": IMAGE}
    files |= {"p/masks/one.png": MASK, "p/masks/two.png": MASK, "p/blue_mask.png": MASK, "p/left.jpg": IMAGE}
    batch = created(client, zipped(files), params={"dilate_pixels": 5})
    found = jobs(client, batch.id)
    assert [job["custom_id"] for job in found] == ["RED-1", "RED-2", "p/blue"]
    assert [job["params"]["dilate_pixels"] for job in found] == [22, 5, 5]
    assert [job["params"]["output_format"] for job in found] == ["webp", "png", "png"]
    assert [job["metadata"] for job in found] == [{"sku": "S-1"}, {}, {"sku": "S-3"}]
    assert rejections(batch) == {("p/left.jpg", "ignored_file")}


def test_a_fault_in_a_row_names_its_line_and_spares_the_others(client: httpx.Client) -> None:
    text = (
        "image,mask,custom_id,dilate_pixels,metadata.note\n"
        "a.jpg,,one,,\n"
        "gone.jpg,a_mask.png,two,,\n"
        "a.jpg,gone.png,three,,\n"
        ",a_mask.png,four,,\n"
        "a.jpg,,one,,\n"
        "a.jpg,,five,101,\n"
        "a.jpg,,six,many,\n"
        f"a.jpg,,seven,,{'x' * 9000}\n"
        f"a.jpg,,{'y' * 256},,\n"
        "twin.jpg,,nine,,\n"
        "bad.jpg,,ten,,\n"
    )
    entries_ = entries("a.jpg", "a_mask.png", "twin.jpg", "TWIN.jpg", "twin_mask.png", "bad.jpg")
    archive = crafted(Entry(b"manifest.csv", text.encode()), *entries_, Entry(b"bad_mask.png", BAD_MASK))
    batch = created(client, archive)
    assert [job["custom_id"] for job in jobs(client, batch.id)] == ["one"]
    assert rejections(batch) - {("TWIN.jpg", "ignored_file")} == {
        ("twin.jpg", "ignored_file"),
        ("manifest.csv:3", "missing_image"),
        ("manifest.csv:4", "missing_mask"),
        ("manifest.csv:5", "missing_image"),
        ("manifest.csv:6", "custom_id_repeated"),
        ("manifest.csv:7", "invalid_params"),
        ("manifest.csv:8", "invalid_params"),
        ("manifest.csv:9", "invalid_metadata"),
        ("manifest.csv:10", "name_too_long"),
        ("manifest.csv:11", "ambiguous_pair"),
        ("manifest.csv:12", "mask_size_mismatch"),
    }
    problem(create(client, archive, atomic=True), 422, "batch_rejected")


def test_a_manifest_that_cannot_be_understood_refuses_the_archive(api: Api, client: httpx.Client) -> None:
    before = api.stored()
    for name, text in (("manifest.csv", "image,colour\na.jpg,ü\n".encode("cp1252")), ("MANIFEST.CSV", b"image,x\n")):
        told = problem(create(client, zipped(pairs("a") | {name: text})), 422, "manifest_invalid")
        assert told["errors"][0]["item"].startswith("manifest.csv:")
    two = pairs("a") | {"manifest.csv": b"image\n", "x/manifest.csv": b"image\n"}
    problem(create(client, zipped(two)), 422, "manifest_invalid")
    large = zipped(pairs("a") | {"manifest.csv": bytes(range(32, 127)) * 100_000})
    assert problem(create(client, large), 422, "archive_rejected")["reason"] == "ratio"
    assert api.stored() == before

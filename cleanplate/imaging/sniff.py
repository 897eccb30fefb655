"""Which format a file is of, by its first bytes and never by its name."""

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_MAX_BRANDS_END = 1024  # bytes; the list of brands is short in any real file


def sniff(data: bytes) -> str | None:
    """Return ``jpeg``, ``png``, ``webp``, ``avif`` or ``heic``, or None for a format that is not taken."""
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        box = data[8 : min(int.from_bytes(data[:4]), _MAX_BRANDS_END)]
        brands = {box[at : at + 4] for at in range(0, len(box), 4)}
        if brands & _AVIF_BRANDS:
            return "avif"
        return "heic" if brands & _HEIF_BRANDS else None
    return None

"""Which key frames a decoder may begin at and give, from there on, what it gives in one pass."""

from __future__ import annotations

from collections.abc import Iterator

# Codecs whose key frames forget all that was before. Frames shown before the key frame but stored after it
# may still need what was before: they are taken from an earlier one.
_FORGETFUL = (
    *("hevc", "vp8", "libvpx", "vp9", "libvpx-vp9", "av1", "libdav1d", "libaom-av1"),
    *("mpeg1video", "mpeg2video", "mpeg4", "mjpeg", "ffv1", "prores", "dnxhd", "rawvideo", "huffyuv"),
)
_SLICES, _IDR, _SEI = range(1, 6), 5, 6
_RECOVERY_POINT = 6


def is_clean_start(codec: str, packet: bytes, extradata: bytes) -> bool:
    """Whether decoding may begin at this packet, which its container calls a key frame.

    Containers call H.264 frames so that need some frames before the picture is right again. An IDR picture
    is right at once, and so is a recovery point that says it (ITU-T H.264, D.2.8).

    Args:
        codec: Name of the decoder.
        packet: The packet.
        extradata: The codec's data from the header.
    """
    if codec != "h264":
        return codec in _FORGETFUL
    for unit in _units(packet, extradata):
        kind = unit[0] & 0x1F
        if kind == _SEI and _recovers_at_once(unit[1:]):
            return True
        if kind in _SLICES:
            return kind == _IDR
    return False


def _units(packet: bytes, extradata: bytes) -> Iterator[bytes]:
    """The NAL units of an H.264 packet, behind their lengths or behind start codes."""
    if extradata[:1] == b"\x01" and len(extradata) > 4:
        width, offset = (extradata[4] & 3) + 1, 0
        while offset + width < len(packet):
            end = offset + width + int.from_bytes(packet[offset : offset + width], "big")
            if end > offset + width:
                yield packet[offset + width : end]
            offset = end
        return
    yield from (part for part in packet.split(b"\x00\x00\x01")[1:] if part)


def _recovers_at_once(messages: bytes) -> bool:
    """Whether SEI messages hold a recovery point without frames to wait for and with an exact match."""
    offset = 0
    while offset + 2 < len(messages):
        numbers = []
        for _ in ("type", "size"):
            number = 0
            while offset < len(messages) - 1 and messages[offset] == 0xFF:
                number, offset = number + 255, offset + 1
            numbers.append(number + messages[offset])
            offset += 1
            if offset >= len(messages):
                return False
        if numbers[0] == _RECOVERY_POINT:
            return messages[offset] & 0xC0 == 0xC0
        offset += numbers[1]
    return False

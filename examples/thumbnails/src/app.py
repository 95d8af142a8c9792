"""Answers a posted image with a thumbnail of it, in the same format: POST /?width=200."""

import base64
import binascii
import io
import json
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

WIDTH_DEFAULT = 200
WIDTH_MAX = 2000
FORMATS = ("JPEG", "PNG", "GIF", "WEBP")

# A small file may unpack to gigabytes; refuse what would not fit into the function's memory.
Image.MAX_IMAGE_PIXELS = 40_000_000
warnings.simplefilter("error", Image.DecompressionBombWarning)


class Refused(Exception):
    """A request that cannot be answered with an image."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status
        self.message = message


def lambda_handler(event, context):
    try:
        width = wanted_width(event.get("queryStringParameters") or {})
        image, kind = read_image(posted_bytes(event))
        body, content_type = thumbnail(image, kind, width)
    except Refused as refused:
        return {
            "statusCode": refused.status,
            "headers": {"content-type": "application/json"},
            "body": json.dumps({"error": refused.message}),
        }
    return {
        "statusCode": 200,
        "headers": {"content-type": content_type},
        "body": base64.b64encode(body).decode("ascii"),
        "isBase64Encoded": True,
    }


def wanted_width(query):
    text = query.get("width", str(WIDTH_DEFAULT))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= WIDTH_MAX:
        raise Refused(400, f"width must be a number from 1 to {WIDTH_MAX}, not {text[:20]!r}")
    return int(text[:6])


def posted_bytes(event):
    body = event.get("body") or ""
    if not body:
        raise Refused(400, "post an image as the body, such as with curl --data-binary @photo.jpg")
    if not event.get("isBase64Encoded"):
        raise Refused(415, "the body is text; send an image with its content type, such as image/jpeg")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise Refused(400, "the body is not what its encoding says") from None


def read_image(data):
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        kind = image.format
        return ImageOps.exif_transpose(image), kind
    except UnidentifiedImageError:
        raise Refused(415, f"the body is no image of a known kind: {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Refused(400, f"the image has more than {Image.MAX_IMAGE_PIXELS} pixels") from None
    except (OSError, SyntaxError, ValueError):
        raise Refused(400, "the image is damaged") from None


def thumbnail(image, kind, width):
    width = min(width, image.width)
    height = max(1, round(image.height * width / image.width))
    try:
        small = image if image.width == width else image.resize((width, height))
        if kind == "JPEG" and small.mode not in ("RGB", "L", "CMYK"):
            small = small.convert("RGB")
        out = io.BytesIO()
        small.save(out, format=kind)
    except OSError:
        raise Refused(400, "the image is damaged") from None
    return out.getvalue(), Image.MIME[kind]

"""Files for the forms that are made from the document: pictures and masks that fit, and bytes that are neither."""

import schemathesis
from hypothesis import strategies

from tests import pictures

SOME = (pictures.encoded(pictures.scene(), "JPEG"), pictures.encoded(pictures.mask_image()), b"neither")
schemathesis.openapi.format("binary", strategies.sampled_from(SOME))

"""How large a hand-off document can be."""

MAX_HEADER_BYTES = 131_072  # four texts of 2,000 characters, each escaped to 12 bytes, and the rest
GENERATOR_STATE_BYTES = 5_056
LATENT_CHANNELS = 4
PX_PER_LATENT = 8


def max_bytes(max_pixels: int) -> int:
    """The size of the largest document about a picture of so many pixels: float32 latents, and a mask."""
    latents_and_mask = (LATENT_CHANNELS * 4 + 1) * max_pixels // PX_PER_LATENT**2
    return 8 + MAX_HEADER_BYTES + GENERATOR_STATE_BYTES + latents_and_mask

"""Image files to pixels within a graph of TensorFlow, for models that are asked with files."""

from typing import Any

PAD = (124, 116, 104)  # the colour beside a photo that is brought to a square by ``pad``


def pixels_of(files: Any, size: int, resize: str) -> Any:
    """Return image files, JPEG, PNG, GIF or BMP, as pixels: float32, ``(n, size, size, 3)``.

    They differ by a grey level or two from those that tlearn makes with Pillow; neither EXIF
    orientation nor transparency is regarded.

    Args:
        files: Strings ``(n,)``.
        size: The side of the square.
        resize: ``squash``, ``crop`` or ``pad``.
    """
    import tensorflow as tf

    def resized(image: Any, height: Any, width: Any) -> Any:
        return tf.image.resize(image, (height, width), antialias=True)

    def one(file: Any) -> Any:
        image = tf.io.decode_image(file, channels=3, expand_animations=False)
        height, width = tf.shape(image)[0], tf.shape(image)[1]
        if resize == "crop":
            side = tf.minimum(height, width)
            image = tf.image.resize_with_crop_or_pad(image, side, side)
        if resize == "pad":
            scale = size / tf.maximum(height, width)
            inner = [
                tf.maximum(1, tf.cast(tf.round(tf.cast(n, tf.float64) * scale), tf.int32))
                for n in (height, width)
            ]
            small = resized(image, *inner) - tf.constant(PAD, tf.float32)
            top, left = (size - inner[0]) // 2, (size - inner[1]) // 2
            pixels = tf.image.pad_to_bounding_box(small, top, left, size, size) + PAD
        else:
            pixels = resized(image, size, size)
        return tf.ensure_shape(tf.round(pixels), (size, size, 3))

    return tf.map_fn(one, files, fn_output_signature=tf.float32)

"""Prints the events of a run folder as TensorBoard's own reader reads them, as JSON."""

import json
import sys
import zlib

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

KINDS = ["scalars", "images", "histograms", "compressedHistograms", "tensors"]
events = EventAccumulator(sys.argv[1], size_guidance={kind: 0 for kind in KINDS})
events.Reload()
tags = events.Tags()
print(json.dumps({
    "scalars": {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]},
    "images": {
        tag: [[e.step, zlib.crc32(e.encoded_image_string)] for e in events.Images(tag)] for tag in tags["images"]
    },
    "histograms": {
        tag: [
            [e.step, list(e.histogram_value.bucket_limit), list(e.histogram_value.bucket)]
            for e in events.Histograms(tag)
        ]
        for tag in tags["histograms"]
    },
}))

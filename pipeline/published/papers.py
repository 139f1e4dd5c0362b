"""What each paper says, in two sentences, and which figures show it; numbers are in `data/published`."""

from pipeline.errors import InputError, nearest
from pipeline.paths import PAPERS

NAMES = {paper: paper.upper() for paper in PAPERS} | {"psconv": "PSConv"}
CLAIMS = {
    "pod": (
        "A global scale for each 3x3 convolution, learnt from the data, fits a network's receptive fields to the "
        "objects. Frozen and decomposed into convolutions of whole dilations, the scales raise AP at all object sizes "
        "without slowing inference."
    ),
    "dst": (
        "Detectors under-train on small objects because these carry too little of the loss. Whenever their share of "
        "the regression loss falls below a threshold, the next step trains on collages of shrunk images, which raises "
        "AP most for small objects and costs nothing at inference."
    ),
    "msfm": (
        "Processing features at several resampled scales inside a bottleneck and adding the result back makes a "
        "backbone see more scales. It raises AP at all object sizes for few more parameters."
    ),
    "snip": (
        "Training a detector on objects of all sizes at all resolutions harms it. Training only on the objects whose "
        "size fits a resolution, and merging the resolutions' valid detections, raises AP above multi-scale training "
        "and testing, most for small objects."
    ),
    "psconv": (
        "Spreading several dilation rates over the kernels of one convolution, in a cyclic pattern over input and "
        "output channels, mixes scales at no cost in parameters or multiply-adds. Used in the backbone, it raises AP "
        "at all object sizes."
    ),
}
FIGURES = {
    "loss": "Training loss of every experiment behind the headline's tables, each the mean of its trainings.",
    "scales": "Learnt global scales by block, with their deviation over images.",
    "collage": "Small objects' share of the regression loss, and share of collage steps, means over trainings.",
    "loss_share": "What each object size carries of the regression loss, without and with DST, means over trainings.",
    "loss_share_histogram": "Small objects' share of the loss in every step of all trainings, without and with DST.",
    "valid_objects": "Objects that train the head at each resolution.",
    "receptive_field": "Where a unit's connections reach, and how densely, with plain, learnt and decomposed scales.",
    "psconv_frcnn_r50_fpn_1x_psconv_weight_share": (
        "Share of each dilation rate in the weight of every PSConv layer of the first training."
    ),
    "ap_by_size": "Gain over its own baseline by object size, for all methods.",
}
FIGURES_OF = {  # of a paper alone
    "pod": ("scales", "receptive_field"),
    "dst": ("collage", "loss_share", "loss_share_histogram"),
    "snip": ("valid_objects",),
    "psconv": ("psconv_frcnn_r50_fpn_1x_psconv_weight_share",),
}
# baseline and method whose detections are drawn, by paper: the first pair that the headline has
PAIRS = {
    "pod": (
        ("pod_frcnn_r50_fpn_2x", "pod_frcnn_r50_fpn_1x_fd_wt"),
        ("pod_frcnn_r50_fpn_1x", "pod_frcnn_r50_fpn_1x_fd"),
    ),
    "dst": (("dst_frcnn_r50_fpn_1x", "dst_frcnn_r50_fpn_1x_dst"),),
    "msfm": (("msfm_frcnn_r50_fpn_1x", "msfm_frcnn_r50_fpn_1x_msfm"),),
    "snip": (("snip_drfcn_r50_7ep_single_scale__ms_test", "snip_drfcn_r50_7ep_snip__ms_test"),),
    "psconv": (("psconv_frcnn_r50_fpn_1x", "psconv_frcnn_r50_fpn_1x_psconv"),),
}


def check_paper(name: str) -> None:
    """Raise InputError unless this is one of the papers."""
    if name not in NAMES:
        raise InputError(f"Unknown paper {name!r}{nearest(name, tuple(NAMES))}; known are {', '.join(NAMES)}.")

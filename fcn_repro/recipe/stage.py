"""Stage: what the staged recipe has to know about one net besides its prototxt files; Entry: what
the zoo does."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A net of the zoo (paper/zoo.py): the family that it is drawn with, its label in the table,
    and the stage that trains it in miniature."""
    family: str
    label: str
    stage: str


@dataclass(frozen=True)
class Stage:
    """One stage of the recipe. Its name in STAGES is that of its folder in prototxt/.

    family, net: the family of nets that it belongs to and its name there; comparison.ROWS finds a
    stage by both.
    parent: the stage whose weights it starts from. trains_parent: train a missing parent without
    being asked to. weights: the file that the user has to give instead of a parent.
    streams: instead of a parent, (stage, suffix) of each that it starts from: the stage's layers
    become those of the same name with the suffix (late fusion).
    expanded: (layer, layer of the source) for a layer with more input channels than the source's,
    the new ones starting from the mean of the old (early fusion). rarefied: layers whose kernel is
    the source's with zeros between its weights, for an input of half the stride. dropped: layers
    that the source has in another shape and the net begins anew. renamed: (layer, layer of the
    source) of layers that the source calls otherwise.
    surgeries: what is done to the net before its first iteration, in this order: 'transplant'
    (weights by name), 'zero scores' (score layers that the source lacks), 'interp' (bilinear
    upsampling layers) and 'label blocks' (upsampling layers of the labels' principal components);
    see starting.prepare.
    score_layers, up_layers: glob patterns for the names of these layers; by default those of the
    release's solve.py and surgery.py.
    zero_fillers: the shipped net has no weight fillers, so every layer would start from 0.
    score_every: iterations between scores of the val set, 0 for none.
    accuracy: of a classifier, the fraction of held-out data that it has to label correctly; None
    for a segmentation net.
    channels: draw all channels of the val net's scores after training.
    takes: the options that Options has for data, class_weights, recolour and rotate, of which it
    accepts these. distilled: it learns from a teacher, which the user has to name; others may.
    scenes: it is trained on the generated digit scenes unless a VOC folder is given; scribbles: its
    train labels are scribbles, of these scenes too. tags: it is a classifier of image tags.
    miniature: the kind of data.miniatures that it is trained on.
    counts_classes: without `classes` its nets get as many as the folder has; those of other stages
    have their own number.
    """
    family: str = ''
    net: str = ''
    parent: str | None = None
    trains_parent: bool = False
    weights: str = ''
    streams: tuple[tuple[str, str], ...] = ()
    expanded: tuple[tuple[str, str], ...] = ()
    rarefied: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    surgeries: tuple[str, ...] = ('transplant', 'zero scores', 'interp')
    score_layers: str = 'score*'
    up_layers: str = '*up*'
    zero_fillers: bool = False
    score_every: int = 0
    accuracy: float | None = None
    channels: bool = False
    takes: tuple[str, ...] = ()
    distilled: bool = False
    scenes: bool = False
    scribbles: bool = False
    tags: bool = False
    miniature: str = ''
    counts_classes: bool = False

    @property
    def classifier(self) -> bool:
        """Whether it is a classifier of images, not a segmentation net."""
        return self.accuracy is not None or self.tags

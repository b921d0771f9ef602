"""Installs `partrep`. The commands (`launch`), presets (`configs`) and tests run from a checkout: `pip install -e .`"""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "partrep/__init__.py").read_text()).group(1)

setup(
    name="partrep",
    version=VERSION,
    description="Part-based image representations in JAX and Flax: recognition that says which part, where, how much",
    long_description=(HERE / "README.md").read_text() if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["partrep", "partrep.*"]),
    package_data={"partrep": ["py.typed", "report/templates/*"]},
    install_requires=[
        "jax>=0.10.2",
        "flax>=0.12.8",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12.8",
        "tensorflow-datasets>=4.9.10",
        "array_record>=0.8.3",
        "importlib_resources>=6.0",
        "grain>=0.2.18",
        "ml-collections>=1.1.0",
        "absl-py>=2.1",
        "chex>=0.1.90",
        "numpy>=2.0",
        "scipy>=1.14",
        "pillow>=11.0",
        "scikit-learn>=1.6",
        "threadpoolctl>=3.8",
        "matplotlib>=3.10",
        "tqdm>=4.66",
        "jinja2>=3.1",
        "contourpy>=1.3",
        "tensorboardX>=2.6.2.2",
        "safetensors>=0.5",
        "flatbuffers>=24.3",
    ],
    extras_require={
        "test": ["pytest>=8.0", "pytest-xdist>=3.6", "ruff>=0.17.6", "mypy>=2.4.1"],
        "faiss": ["faiss-cpu>=1.10"],
        "hub": ["huggingface_hub>=0.26"],
        "parity": ["torch", "torchvision", "timm"],
    },
)
